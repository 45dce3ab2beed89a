"""Any sequence of facts about an account keeps its invariants."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.account_state import AccountState, KeptAnswer
from vault_domain.entities.attempt import Attempt, CommitOutcome, Failure, SealedAnswer
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import GenerationConflictError
from vault_domain.entities.suspicion import ConfirmationWindow, Report
from vault_domain.entities.token import MarkOutcome, SealedToken, TokenRef, TokenStatus, TokenWrite
from vault_domain.rules.schedule import due_at_of
from vault_domain.transitions import attempts
from vault_domain.transitions.values import (
    deleted,
    end_told,
    marked,
    reported,
    rescheduled,
    revived,
    stored,
    stored_set,
    written,
)

ACCOUNT = Account("t1", "google", "ann")
LEASE = timedelta(seconds=20)
WINDOW = ConfirmationWindow(timedelta(seconds=10), timedelta(seconds=60))
START = datetime(2030, 1, 1, tzinfo=UTC)
KINDS = (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)

seconds = st.integers(0, 90).map(lambda number: timedelta(seconds=number))
failures = st.builds(
    Failure, st.sampled_from([None, "invalid_scope"]), seconds, st.booleans(), st.booleans(), st.none() | seconds
)
kinds = st.sampled_from([KINDS, KINDS[:1], KINDS[1:]])


class Accounts(RuleBasedStateMachine):
    """One account to which anything happens, at any time, in any order."""

    def __init__(self):
        super().__init__()
        self.now, self.number = START, 0
        self.state = written(AccountState(ACCOUNT), START, self.writes(KINDS))[0]
        self.attempts, self.committed, self.events = [], {}, []
        self.invalidated = []  # value ids
        self.told = set()  # value ids of refresh tokens of which an event has told that they expire soon
        self.rotated = set()  # value ids of credentials that a committed answer has replaced

    def new_id(self):
        self.number += 1
        return UUID(int=self.number)

    def writes(self, chosen, **more):
        sealed = SealedToken(b"k" * 16, b"sealed")
        return [
            TokenWrite(ACCOUNT.key(kind), sealed, lifetime=timedelta(minutes=1), value_id=self.new_id(), **more)
            for kind in chosen
        ]

    def take(self, decision):
        generations = {kind: token.info.generation for kind, token in self.state.tokens.items()}
        for kind, token in decision.state.tokens.items():
            assert token.info.generation >= generations.get(kind, 0)
        if decision.state is self.state:
            assert decision.events == ()
        self.state = decision.state
        self.events += decision.events
        self.invalidated += [
            self.state.tokens[event.kind].info.value_id
            for event in decision.events
            if event.action is AuditAction.TOKEN_INVALIDATED
        ]
        return decision.result

    def some(self, data):
        return data.draw(st.sampled_from(self.attempts))

    @rule(passed=seconds)
    def time_passes(self, passed):
        self.now += passed

    @rule(chosen=kinds, lead=st.none() | seconds, due_in=st.none() | seconds)
    def the_host_stores(self, chosen, lead, due_in):
        before = self.state.row
        writes = self.writes(chosen, lead=lead if TokenKind.ACCESS_TOKEN in chosen else None, due_in=due_in)
        infos = self.take(stored(self.state, self.now, writes, None))
        dues = [due_at_of(write, info.expires_at, self.now) for write, info in zip(writes, infos, strict=True)]
        asked = [due for due in dues if due is not None]
        if asked:
            assert self.state.row.due_at <= asked[0]  # an access token comes first, and decides alone
        elif before is not None:
            assert self.state.row.due_at <= self.now
        if before is not None and before.due_at is not None:
            assert self.state.row.due_at <= before.due_at

    @rule(chosen=kinds, expected=st.integers(0, 3))
    def the_host_stores_over_a_generation(self, chosen, expected):
        before, kind = self.state, chosen[0]
        try:
            self.take(stored(before, self.now, self.writes([kind]), None, expected))
        except GenerationConflictError:
            assert before.generation(kind) != expected
        else:
            assert (before.generation(kind), self.state.generation(kind)) == (expected, expected + 1)

    @rule(chosen=kinds, label=st.none() | st.just("Ida"))
    def a_user_consents(self, chosen, label):
        before = self.state.refresh
        old = None if self.state.row is None else self.state.row.label
        record, now = self.take(stored_set(self.state, self.now, self.writes(chosen), label, None))
        assert (record, now) == (self.state.record, self.now)
        assert record.label == label or (label is None and record.label == old)
        assert record.refresh == (before.settled(keep_lease=before.leased_until(now) is not None))

    @precondition(lambda self: self.state.tokens)
    @rule(data=st.data(), is_stale=st.booleans(), confirms=st.none() | st.just(WINDOW))
    def a_value_is_marked_or_reported(self, data, is_stale, confirms):
        token = self.state.tokens[data.draw(st.sampled_from(sorted(self.state.tokens)))]
        ref, row = TokenRef.of(token.info), self.state.row
        if is_stale:
            ref = evolve(ref, value_id=UUID(int=0))
        if confirms is None:
            outcome = self.take(marked(self.state, self.now, ref, "x", None))
        else:
            outcome = self.take(reported(self.state, self.now, ref, "x", WINDOW, None))
        new = self.state.tokens[token.key.kind]
        if is_stale:
            assert (outcome, new) == (MarkOutcome.STALE, token)
        elif token.info.status is TokenStatus.INVALID:
            assert (outcome, new) == (MarkOutcome.ALREADY_INVALID, token)
        elif confirms is not None and WINDOW.judge(token.info.suspect_since, self.now) is not Report.CONFIRMED:
            assert (outcome, new.info.status) == (MarkOutcome.SUSPECTED, token.info.status)
            is_early = WINDOW.judge(token.info.suspect_since, self.now) is Report.EARLY
            assert new.info.suspect_since == (token.info.suspect_since if is_early else self.now)
        else:
            assert (outcome, new.info.status) == (MarkOutcome.APPLIED, TokenStatus.INVALID)
            if token.key.kind is TokenKind.ACCESS_TOKEN:
                assert self.state.row.due_at <= self.now
            else:
                assert self.state.row == row

    @rule(chosen=kinds)
    def tokens_are_deleted(self, chosen):
        before = self.state
        gone = [kind for kind in chosen if kind in before.tokens]
        assert self.take(deleted(before, self.now, chosen, None)) == len(gone)
        assert self.state.tokens.keys() == before.tokens.keys() - set(chosen)
        assert self.state.tokens or not gone or self.state.row is None
        if self.state.row is not None and TokenKind.ACCESS_TOKEN in gone:
            assert self.state.row.due_at <= self.now

    @precondition(lambda self: TokenKind.REFRESH_TOKEN in self.state.tokens)
    @rule(due_in=seconds, is_stale=st.booleans())
    def an_operator_revives(self, due_in, is_stale):
        before = self.state
        token = before.tokens[TokenKind.REFRESH_TOKEN]
        ref = evolve(TokenRef.of(token.info), value_id=UUID(int=0)) if is_stale else TokenRef.of(token.info)
        is_condemned = token.info.status is TokenStatus.INVALID and token.info.rejected_at is not None
        is_expired = token.info.expires_at <= self.now
        assert self.take(revived(before, self.now, ref, due_in, None)) is (
            is_condemned and not is_expired and not is_stale
        )
        if self.state is not before:
            self.invalidated.remove(token.info.value_id)
            keep_lease = before.refresh.leased_until(self.now) is not None
            assert self.state.tokens[TokenKind.REFRESH_TOKEN].info.status is TokenStatus.VALID
            assert self.state.refresh == before.refresh.settled(keep_lease=keep_lease)
            assert self.state.row is None or self.state.row.due_at == self.now + due_in

    @rule()
    def a_sweep_tells_the_end(self):
        token = self.state.tokens.get(TokenKind.REFRESH_TOKEN)
        if self.take(end_told(self.state, self.now, timedelta(seconds=20), None)):
            assert timedelta(0) < token.info.expires_at - self.now <= timedelta(seconds=20)
            assert token.info.value_id not in self.told
            self.told.add(token.info.value_id)
            assert not self.take(end_told(self.state, self.now, timedelta(seconds=20), None))

    @precondition(lambda self: len(self.state.tokens) == len(KINDS))
    @rule(knows_latest=st.booleans(), is_old=st.booleans(), data=st.data())
    def claim(self, knows_latest, is_old, data):
        tokens = {kind: TokenRef.of(token.info) for kind, token in self.state.tokens.items()}
        credential = tokens[TokenKind.REFRESH_TOKEN]
        if is_old and self.attempts:
            credential = self.some(data).credential
        seen = self.state.refresh.attempt_id if knows_latest else UUID(int=0)
        attempt = Attempt(ACCOUNT, self.new_id(), credential, tokens[TokenKind.ACCESS_TOKEN], self.now, LEASE)
        before = self.state.refresh
        if self.take(attempts.claimed(self.state, self.now, attempt, seen)) is None:
            return
        self.attempts.append(attempt)
        assert credential.value_id not in self.rotated
        assert seen == before.attempt_id
        # No two live leases on one credential.
        assert before.credential_value_id != credential.value_id or before.leased_until(self.now) is None
        assert self.state.row.due_at == self.state.refresh.lease_until == self.now + LEASE

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def renew(self, data):
        attempt = self.some(data)
        if self.take(attempts.renewed(self.state, self.now, attempt, LEASE)):
            assert self.state.refresh.attempt_id == attempt.attempt_id
            assert self.state.refresh.lease_until == self.now + LEASE

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), latest=st.booleans())
    def end_without_a_request(self, data, latest):
        attempt = self.some(data)
        own = self.state.refresh.attempt_id == attempt.attempt_id
        lease = self.state.refresh.lease_until
        if latest:
            self.take(attempts.released(self.state, self.now, attempt))
        else:
            self.take(attempts.withdrawn(self.state, self.now, attempt, self.state.refresh.attempt_id))
        assert self.state.refresh.lease_until == (None if own else lease)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), failure=failures)
    def fail(self, data, failure):
        attempt, known = self.some(data), self.state.refresh
        self.take(attempts.failed(self.state, self.now, attempt, failure, None))
        if self.state.row is not None and known.attempt_id == attempt.attempt_id:
            assert self.state.refresh.failures == known.failures + 1
            assert self.state.row.due_at <= self.now + failure.retry_in
        else:
            assert self.state.refresh == known

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), failure=failures)
    def an_answer_cannot_be_read(self, data, failure):
        attempt, before, sealed = self.some(data), self.state, SealedToken(b"k" * 16, b"unread")
        self.take(attempts.unread(before, self.now, attempt, SealedAnswer(sealed, failure), None))
        assert self.state.row == attempts.failed(before, self.now, attempt, failure, None).state.row
        if before.row is None or before.holds(attempt.credential) is None:
            assert self.state.answer == before.answer
        else:
            is_same = before.answer is not None and before.answer.attempt_id == attempt.attempt_id
            kept_at = before.answer.kept_at if is_same else self.now
            assert self.state.answer == KeptAnswer(attempt.attempt_id, sealed, kept_at)

    @precondition(lambda self: self.state.answer is not None)
    @rule(is_other=st.booleans(), sealed=st.none() | st.just(SealedToken(b"n" * 16, b"anew")))
    def an_answer_is_read_again(self, is_other, sealed):
        before = self.state
        self.take(attempts.reread(before, UUID(int=0) if is_other else before.answer.attempt_id, sealed))
        if is_other:
            assert self.state is before
        else:
            assert self.state.answer == (None if sealed is None else evolve(before.answer, sealed=sealed))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), chosen=kinds, keeps=st.booleans())
    def commit(self, data, chosen, keeps):
        attempt, before = self.some(data), self.state
        again = before.row is not None and before.row.committed_attempt_id == attempt.attempt_id
        own = before.row is not None and before.refresh.attempt_id == attempt.attempt_id
        writes = self.writes(chosen, refreshed=True, keeps_mark=keeps)
        commit = self.take(attempts.answered(before, self.now, attempt, writes, None))
        without = attempts.reread(before, attempt.attempt_id, None).state
        assert self.state.answer == without.answer
        if again:
            assert self.state == without
        elif commit.outcome is CommitOutcome.CREDENTIAL_MOVED:
            assert self.state.tokens == before.tokens
        else:
            assert (self.state.refresh.failures, self.state.refresh.unknown_since) == (0, None)
            kept = () if own else (before.refresh.lease_until,)
            assert self.state.refresh.lease_until in (*kept, None)
            assert own or self.state.refresh.leased_until(self.now) == before.refresh.leased_until(self.now)
            if TokenKind.REFRESH_TOKEN in chosen:
                self.rotated.add(attempt.credential.value_id)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def reject(self, data):
        attempt = self.some(data)
        held = self.state.holds(attempt.credential)
        assert self.take(attempts.rejected(self.state, self.now, attempt, "invalid_grant", None)) is (held is not None)
        if held is not None:
            assert self.state.tokens[TokenKind.REFRESH_TOKEN].info.status is TokenStatus.INVALID

    @rule(wait=st.none() | seconds)
    def a_sweep_checks(self, wait):
        due_at = None if wait is None else self.now + wait
        self.take(rescheduled(self.state, due_at))
        assert self.state.row is None or self.state.row.due_at == due_at

    @invariant()
    def a_recovery_is_told_only_after_failures(self):
        runs = (AuditAction.REFRESH_FAILING, AuditAction.REFRESH_RECOVERED)
        told = [None, *(event.action for event in self.events if event.action in runs)]
        assert all(
            before is AuditAction.REFRESH_FAILING
            for before, action in pairwise(told)
            if action is AuditAction.REFRESH_RECOVERED
        )

    @invariant()
    def an_answer_goes_with_its_account(self):
        assert self.state.answer is None or self.state.row is not None

    @invariant()
    def each_value_is_invalidated_once(self):
        assert len(self.invalidated) == len(set(self.invalidated))


Accounts.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestAccounts = Accounts.TestCase


def prepared():
    machine = Accounts()
    tokens = {kind: TokenRef.of(token.info) for kind, token in machine.state.tokens.items()}
    attempt = Attempt(ACCOUNT, machine.new_id(), tokens[KINDS[1]], tokens[KINDS[0]], START, LEASE)
    return machine, attempt


def test_a_withdrawn_attempt_cannot_be_claimed_any_more():
    machine, attempt = prepared()
    state = attempts.withdrawn(machine.state, START, attempt, None).state
    assert (state.refresh.attempt_id, state.refresh.lease_until) == (attempt.attempt_id, None)
    assert attempts.claimed(state, START, attempt, None).result is None


def test_a_withdrawal_after_another_claim_changes_nothing():
    machine, attempt = prepared()
    other = evolve(attempt, attempt_id=machine.new_id())
    state = attempts.claimed(machine.state, START, other, None).state
    assert attempts.withdrawn(state, START, attempt, None).state is state


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_without_a_name_is_refused(kind):
    unnamed = TokenWrite(ACCOUNT.key(kind), SealedToken(b"k" * 16, b"sealed"))
    with pytest.raises(ValueError, match="names the value"):
        written(AccountState(ACCOUNT), START, [unnamed])


def test_the_end_of_a_refresh_token_is_told_once():
    machine, _ = prepared()
    machine.now += timedelta(seconds=45)
    machine.a_sweep_tells_the_end()
    assert [event.action for event in machine.events] == [AuditAction.REFRESH_TOKEN_EXPIRING]


def test_an_early_second_report_changes_nothing():
    machine, attempt = prepared()
    first = reported(machine.state, START, attempt.credential, "x", WINDOW, None).state
    second = reported(first, START + timedelta(seconds=1), attempt.credential, "x", WINDOW, None)
    assert (second.state, second.result, second.events) == (first, MarkOutcome.SUSPECTED, ())


def test_a_mark_of_the_host_is_not_revived():
    machine, attempt = prepared()
    state = marked(machine.state, START, attempt.credential, "x", None).state
    assert revived(state, START, attempt.credential, LEASE, None).state is state
