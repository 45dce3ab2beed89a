"""What becomes of an account during a refresh, case by case."""

from datetime import timedelta
from uuid import uuid4

import pytest
from attrs import evolve
from tests.domain.account_facts import (
    ACCOUNT,
    HOUR,
    KINDS,
    LEAD,
    LEASE,
    MINUTE,
    SECOND,
    START,
    A,
    R,
    attempt_on,
    claimed,
    failed,
    with_values,
    write,
)

from vault_domain.entities.account_state import AccountState, Decision, KeptAnswer
from vault_domain.entities.attempt import Commit, CommitOutcome, Failure, SealedAnswer
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.clients import MASS_REJECTION
from vault_domain.entities.refresh_state import RefreshState
from vault_domain.entities.token import SealedToken, TokenStatus
from vault_domain.transitions import attempts
from vault_domain.transitions.values import deleted, marked, rescheduled, revived

LATER = START + HOUR


def actions(decision):
    return [event.action for event in decision.events]


def answered(state, attempt, *kinds, now=START, **more):
    writes = [write(kind, refreshed=True, **more) for kind in kinds or KINDS]
    return attempts.answered(state, now, attempt, writes, None)


def test_a_claim_is_a_lease_and_changes_no_token():
    before = with_values()
    state, attempt = claimed(before)
    assert state.tokens == before.tokens
    assert state.refresh == RefreshState(
        credential_value_id=attempt.credential.value_id,
        attempt_id=attempt.attempt_id,
        lease_until=START + LEASE,
        sent_at=START,
    )
    assert state.row.due_at == START + LEASE


@pytest.mark.parametrize("how", ["invalid", "replaced", "deleted", "another value"])
def test_a_credential_that_is_no_longer_good_is_not_claimed(how):
    state = with_values()
    attempt = attempt_on(state)
    if how == "invalid":
        state = marked(state, START, attempt.credential, "x", None).state
    elif how == "replaced":
        state = with_values(R, state=state)
    elif how == "deleted":
        state = deleted(state, START, [R], None).state
    else:
        attempt = evolve(attempt, credential=evolve(attempt.credential, value_id=uuid4()))
    assert attempts.claimed(state, START, attempt, None).state is state


def test_a_lease_on_another_credential_keeps_nobody_out():
    state, _ = claimed(failed(unknown=True, code="x"))
    state, attempt = claimed(with_values(R, state=state), START + SECOND)
    assert state.refresh == RefreshState(
        credential_value_id=attempt.credential.value_id,
        attempt_id=attempt.attempt_id,
        lease_until=START + SECOND + LEASE,
        sent_at=START + SECOND,
    )


def test_a_lease_that_ran_out_is_an_unknown_outcome_since_its_end_and_is_told():
    state, _ = claimed()
    attempt = attempt_on(state)
    decision = attempts.claimed(state, LATER, attempt, state.refresh.attempt_id)
    assert (decision.state.refresh.unknown_since, decision.state.refresh.sent_at) == (START + LEASE, START)
    assert actions(decision) == [AuditAction.REFRESH_OUTCOME_UNKNOWN]


def test_the_first_request_of_unknown_outcome_stays_through_failures():
    state = failed(failed(unknown=True), LATER, code="x", unknown=False)
    state, _ = claimed(state, LATER + HOUR)
    refresh = state.refresh
    assert (refresh.sent_at, refresh.unknown_since) == (START, START)
    assert (refresh.failures, refresh.error_code, refresh.next_attempt_at) == (2, "x", None)


def test_where_all_outcomes_are_known_the_latest_request_counts():
    state, _ = claimed(failed(), LATER)
    assert (state.refresh.sent_at, state.refresh.unknown_since) == (LATER, None)


@pytest.mark.parametrize("moved", [False, True])
def test_a_renewal_moves_the_due_time_that_the_claim_set_and_no_other(moved):
    state, attempt = claimed()
    if moved:
        state = rescheduled(state, START + SECOND).state
    new = attempts.renewed(state, LATER, attempt, LEASE).state
    assert new.refresh == evolve(state.refresh, lease_until=LATER + LEASE)
    assert new.row.due_at == (START + SECOND if moved else LATER + LEASE)


@pytest.mark.parametrize("ending", ["released", "failed", "rejected", "answered", "taken over"])
def test_an_attempt_that_is_over_is_not_renewed(ending):
    state, attempt = claimed()
    if ending == "released":
        state = attempts.released(state, START, attempt).state
    elif ending == "failed":
        state = attempts.failed(state, START, attempt, Failure(None, SECOND, unknown=False), None).state
    elif ending == "rejected":
        state = attempts.rejected(state, START, attempt, "invalid_grant", None).state
    elif ending == "answered":
        state = answered(state, attempt).state
    else:
        state, _ = claimed(state, LATER)
    decision = attempts.renewed(state, LATER, attempt, LEASE)
    assert (decision.state is state, decision.result) == (True, False)


@pytest.mark.parametrize("ending", ["released", "failed"])
def test_an_attempt_that_is_not_the_latest_ends_nothing(ending):
    state, late = claimed()
    state, _ = claimed(state, LATER)
    if ending == "released":
        assert attempts.released(state, LATER, late).state is state
    else:
        assert attempts.failed(state, LATER, late, Failure(None, SECOND, unknown=True), None).state is state


def test_a_release_keeps_what_is_known_and_makes_the_account_due():
    known = failed(code="x", unknown=True)
    state, attempt = claimed(known, LATER)
    new = attempts.released(state, LATER, attempt).state
    assert new.refresh == evolve(known.refresh, attempt_id=attempt.attempt_id, next_attempt_at=None)
    assert new.row.due_at == LATER


def test_a_failure_is_noted_and_the_first_of_a_run_is_told():
    state, attempt = claimed()
    decision = attempts.failed(state, LATER, attempt, Failure("x", 90 * SECOND, unknown=True), None)
    assert decision.state.refresh == evolve(
        state.refresh,
        lease_until=None,
        failures=1,
        next_attempt_at=LATER + 90 * SECOND,
        error_code="x",
        unknown_since=LATER,
    )
    assert decision.state.tokens == state.tokens
    assert decision.state.row.due_at == LATER + 90 * SECOND
    assert actions(decision) == [AuditAction.REFRESH_FAILING]
    state, attempt = claimed(decision.state, LATER)
    again = attempts.failed(state, LATER, attempt, Failure(None, SECOND, unknown=False), None)
    assert (again.state.refresh.failures, again.state.refresh.error_code, again.events) == (2, None, ())


def test_a_spared_account_is_woken_and_no_other():
    state, attempt = claimed()
    spared, other = (
        attempts.failed(state, START, attempt, Failure(code, 2 * HOUR, unknown=True), None).state
        for code in (MASS_REJECTION, "timeout")
    )
    woken = attempts.woken(spared, LATER)
    assert woken == Decision(spared.with_row(refresh=evolve(spared.refresh, next_attempt_at=None), due_at=LATER), None)
    late = spared.with_row(refresh=evolve(spared.refresh, failures=0))
    for each in (other, late, with_values()):
        assert attempts.woken(each, LATER) == Decision(each, None)
        assert attempts.woken(each, LATER).state is each


@pytest.mark.parametrize("due_in", [SECOND, 2 * HOUR])
def test_a_failure_does_not_put_off_what_a_value_has_set_meanwhile(due_in):
    state, attempt = claimed()
    state = rescheduled(state, START + due_in).state
    new = attempts.failed(state, START, attempt, Failure(None, HOUR, unknown=False), None).state
    assert new.row.due_at == START + min(due_in, HOUR)


def test_the_length_of_a_run_of_refusals_moves_its_begin():
    state = failed(refused=True, refused_for=HOUR)
    assert (state.refresh.refused_since, state.refresh.refused_for) == (START, timedelta(0))
    state = failed(state, LATER, refused=True, refused_for=MINUTE)
    for later in ({}, {"refused": True}):  # another failure, and a refusal whose length is not known
        assert (state.refresh.refused_since, state.refresh.refused_for) == (LATER - MINUTE, MINUTE)
        state = failed(state, LATER + HOUR, **later)
    state, attempt = claimed(state, LATER)
    assert answered(state, attempt).state.refresh.refused_since is None


@pytest.mark.parametrize("lifetime", [HOUR, 3 * HOUR, None])
def test_an_answer_makes_the_account_due_before_its_access_token_expires(lifetime):
    state, attempt = claimed()
    new = answered(state, attempt, lifetime=lifetime).state
    assert new.row.due_at == (None if lifetime is None else START + lifetime - LEAD)


@pytest.mark.parametrize("had_access", [True, False])
def test_an_answer_may_make_the_account_due_earlier(had_access):
    state, attempt = claimed(with_values() if had_access else with_values(R))
    assert answered(state, attempt, lifetime=None, due_in=MINUTE).state.row.due_at == START + MINUTE


@pytest.mark.parametrize("how", ["without access token", "access token moved", "without lead"])
def test_an_answer_that_says_no_time_makes_the_account_due_now(how):
    state, attempt = claimed()
    if how == "without access token":
        new = answered(state, attempt, R, now=LATER).state
    elif how == "without lead":
        new = answered(state, attempt, now=LATER, lead=None).state
    else:
        new = answered(with_values(A, state=state), attempt, A, now=LATER).state
    assert new.row.due_at == LATER


@pytest.mark.parametrize("how", ["replaced", "deleted"])
def test_an_access_token_that_changed_meanwhile_is_not_overwritten(how):
    state, attempt = claimed()
    state = with_values(A, state=state) if how == "replaced" else deleted(state, START, [A], None).state
    decision = answered(state, attempt)
    assert decision.result == Commit(CommitOutcome.ACCESS_MOVED)
    assert decision.state.tokens.get(A) == state.tokens.get(A)
    assert decision.state.generation(R) == 2
    assert [event.kind for event in decision.events] == [R]


def test_an_answer_for_another_credential_is_dropped_and_ends_the_lease():
    state, attempt = claimed()
    state = with_values(R, state=state)
    decision = answered(state, attempt)
    assert (decision.result, decision.events) == (Commit(CommitOutcome.CREDENTIAL_MOVED), ())
    assert (decision.state.tokens, decision.state.refresh.lease_until) == (state.tokens, None)


def test_an_answer_is_one_event_and_after_failures_a_recovery_too():
    state, attempt = claimed(failed(code="x", unknown=True), LATER)
    decision = answered(state, attempt)
    [refreshed, recovered] = decision.events
    assert (refreshed.action, refreshed.kind, refreshed.generation) == (AuditAction.TOKEN_REFRESHED, A, 2)
    assert (refreshed.credential_generation, recovered.action) == (2, AuditAction.REFRESH_RECOVERED)
    assert decision.result.access == decision.state.tokens[A]
    again = attempts.answered(decision.state, LATER, attempt, [write(A)], None)
    assert (again.state is decision.state, again.result, again.events) == (True, Commit(CommitOutcome.WRITTEN), ())


@pytest.mark.parametrize("keeps_mark", [True, False])
def test_a_late_answer_keeps_the_mark_of_the_credential_that_it_replaces(keeps_mark):
    state, late = claimed()
    state, attempt = claimed(state, LATER)
    state = attempts.rejected(state, LATER, attempt, "invalid_grant", None).state
    new = answered(state, late, keeps_mark=keeps_mark).state
    info = new.tokens[R].info
    assert new.tokens[A].info.status is TokenStatus.VALID
    assert (info.status, info.error_code) == (
        (TokenStatus.UNKNOWN, "invalid_grant") if keeps_mark else (TokenStatus.VALID, None)
    )


def test_a_rejection_is_dated_and_told():
    before, attempt = claimed()
    decision = attempts.rejected(before, LATER, attempt, "invalid_grant", "me")
    info = decision.state.tokens[R].info
    assert info == evolve(
        before.tokens[R].info,
        status=TokenStatus.INVALID,
        error_code="invalid_grant",
        updated_at=LATER,
        rejected_at=LATER,
    )
    assert (decision.state.tokens[A], decision.state.row.due_at) == (before.tokens[A], LATER)
    assert actions(decision) == [AuditAction.TOKEN_INVALIDATED, AuditAction.REAUTHORIZATION_REQUIRED]
    due = revived(decision.state, LATER, attempt.credential, MINUTE, None).state
    assert (due.tokens[R].info.rejected_at, due.row.due_at) == (None, LATER + MINUTE)


def test_a_hosts_mark_stays_undated_although_the_provider_rejects_too():
    state, attempt = claimed()
    state = marked(state, START, attempt.credential, "host", None).state
    decision = attempts.rejected(state, LATER, attempt, "invalid_grant", None)
    info = decision.state.tokens[R].info
    assert (decision.result, decision.events, info.error_code, info.rejected_at) == (True, (), "host", None)


@pytest.mark.parametrize("how", ["released", "failed", "rejected", "answered", "renewed"])
def test_an_account_that_is_gone_stays_gone(how):
    _, attempt = claimed()
    gone = AccountState(ACCOUNT)
    decision = {
        "released": lambda: attempts.released(gone, START, attempt),
        "failed": lambda: attempts.failed(gone, START, attempt, Failure(None, SECOND, unknown=True), None),
        "rejected": lambda: attempts.rejected(gone, START, attempt, "x", None),
        "answered": lambda: answered(gone, attempt),
        "renewed": lambda: attempts.renewed(gone, START, attempt, LEASE),
    }[how]()
    assert (decision.state, decision.events) == (gone, ())


def test_a_late_answer_does_not_end_the_lease_of_the_next_attempt():
    state, late = claimed()
    state, current = claimed(state, LATER)
    decision = answered(state, late, now=LATER)
    assert decision.result.outcome is CommitOutcome.WRITTEN
    refresh = decision.state.refresh
    assert (refresh.attempt_id, refresh.lease_until) == (current.attempt_id, LATER + LEASE)
    assert answered(decision.state, current, now=LATER).state.refresh.lease_until is None


def two_answers(stored_at):
    """Return an account after the earlier of two answers to one credential, and both attempts."""
    state, earlier = claimed()
    state, later = claimed(state, LATER)
    return answered(state, earlier, now=stored_at).state, earlier, later


@pytest.mark.parametrize("stored_at", [LATER, LATER + HOUR])
def test_of_two_answers_to_one_credential_that_of_the_later_attempt_stays(stored_at):
    state, earlier, later = two_answers(stored_at)
    decision = answered(state, later, now=stored_at + SECOND)
    assert decision.result.outcome is CommitOutcome.WRITTEN
    infos = [decision.state.tokens[kind].info for kind in KINDS]
    assert [(info.generation, info.last_refreshed_at) for info in infos] == [(3, stored_at + SECOND)] * 2
    assert decision.state.refresh.lease_until is None
    again = answered(decision.state, earlier, now=stored_at + MINUTE)
    assert (again.result.outcome, again.state.tokens) == (CommitOutcome.CREDENTIAL_MOVED, decision.state.tokens)


@pytest.mark.parametrize(("kind", "outcome"), [(A, CommitOutcome.ACCESS_MOVED), (R, CommitOutcome.CREDENTIAL_MOVED)])
def test_what_a_host_stored_over_the_earlier_answer_stays(kind, outcome):
    state, _, later = two_answers(LATER)
    theirs = with_values(kind, state=state)
    decision = answered(theirs, later, now=LATER + SECOND)
    assert decision.result.outcome is outcome
    assert decision.state.tokens[kind] == theirs.tokens[kind]


def test_an_answer_that_comes_after_the_next_lease_leaves_no_unknown_outcome_behind():
    state, _, _ = two_answers(LATER + HOUR)
    assert (state.refresh.concerns(state.tokens[R].info), state.refresh.unknown_at(LATER + HOUR)) == (True, None)


def test_an_attempt_on_the_earlier_answer_keeps_the_later_answer_out():
    state, _, later = two_answers(LATER + HOUR)
    state, _ = claimed(state, LATER + HOUR)
    assert answered(state, later, now=LATER + HOUR).result.outcome is CommitOutcome.CREDENTIAL_MOVED


UNREAD = SealedAnswer(SealedToken(b"k" * 16, b"unread"), Failure("unreadable_answer", HOUR, unknown=False))


def unread(state, attempt, now=START, actor=None):
    return attempts.unread(state, now, attempt, UNREAD, actor)


def kept(attempt, now=START):
    return KeptAnswer(attempt.attempt_id, UNREAD.sealed, now)


def test_an_answer_that_cannot_be_read_is_told_once_and_before_its_failure():
    state, attempt = claimed()
    first = unread(state, attempt, actor="me")
    assert [(event.action, event.occurred_at, event.actor) for event in first.events] == [
        (AuditAction.ANSWER_KEPT, START, "me"),
        (AuditAction.REFRESH_FAILING, START, "me"),
    ]
    assert (first.state.answer, first.durable) == (kept(attempt), True)
    again = unread(first.state, attempt, LATER)
    assert (again.events, again.state.answer) == ((), kept(attempt))


def test_an_answer_takes_the_place_of_that_of_an_earlier_attempt():
    state, earlier = claimed()
    state, attempt = claimed(unread(state, earlier).state, LATER)
    decision = unread(state, attempt, LATER)
    assert (decision.state.answer, actions(decision)) == (kept(attempt, LATER), [AuditAction.ANSWER_KEPT])


@pytest.mark.parametrize("gone", ["credential", "account"])
def test_an_answer_is_not_kept_without_its_credential(gone):
    state, attempt = claimed()
    state = with_values(R, state=state) if gone == "credential" else AccountState(ACCOUNT)
    decision = unread(state, attempt)
    assert decision == attempts.failed(state, START, attempt, UNREAD.failure, None)
    assert decision.state.answer is None


@pytest.mark.parametrize("sealed", [SealedToken(b"l" * 16, b"sealed anew"), None])
def test_a_kept_answer_is_sealed_anew_or_dropped_and_that_of_another_attempt_stays(sealed):
    state, attempt = claimed()
    state = unread(state, attempt).state
    answer = None if sealed is None else KeptAnswer(attempt.attempt_id, sealed, START)
    assert attempts.reread(state, attempt.attempt_id, sealed) == Decision(evolve(state, answer=answer), None)
    for other, attempt_id in ((state, uuid4()), (evolve(state, answer=None), attempt.attempt_id)):
        decision = attempts.reread(other, attempt_id, sealed)
        assert (decision, decision.state is other) == (Decision(other, None), True)


def test_a_stored_answer_is_kept_no_longer_as_unread_and_that_of_another_attempt_stays():
    state, late = claimed()
    state, attempt = claimed(state, LATER)
    state = unread(state, attempt, LATER).state
    assert answered(state, attempt).state.answer is None
    assert answered(state, late).state.answer == kept(attempt, LATER)
