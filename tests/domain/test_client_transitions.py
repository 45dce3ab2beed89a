"""Any sequence of facts about a client keeps the invariants of its record."""

from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vault_domain.entities.account import Account
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.clients import (
    CLIENT_MISMATCH,
    INVALID_CLIENT,
    MASS_REJECTION,
    ClientDecision,
    ClientRecord,
    ClientScope,
)
from vault_domain.rules.clients import ClientRules, is_paused, mark_of
from vault_domain.transitions import clients

START = datetime(2030, 1, 1, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
RULES = ClientRules()
REFUSED, REJECTED = (ClientScope("google", b"a" * 16, reason) for reason in (INVALID_CLIENT, MASS_REJECTION))
ANN, BOB, CEM, DOT = ACCOUNTS = [Account("t1", "google", name) for name in ("ann", "bob", "cem", "dot")]
EVE = Account("t2", "google", "eve")


def refuse(record, *accounts, now=START, scope=REFUSED, succeeded=False, is_sole=True):
    decision = ClientDecision(record, record)
    for account in accounts:
        decision = clients.refused(decision.record, now, scope, account, RULES, succeeded=succeeded, is_sole=is_sole)
    return decision


def reject(record, now=START, account=ANN, *, mass=False, rules=RULES):
    return clients.rejected(record, now, REJECTED, account, rules, mass=mass)


def paused_event(scope, now=START):
    return AuditEvent(AuditAction.CLIENT_PAUSED, now, code=scope.reason, provider="google")


def test_three_accounts_pause_their_client_once():
    assert refuse(None, ANN, ANN, BOB).events == ()
    counting = refuse(None, ANN, BOB).record
    third = refuse(counting, CEM, now=START + MINUTE)
    marks = tuple(mark_of(account) for account in (ANN, BOB, CEM))
    assert third.result == third.record == ClientRecord(REFUSED, START, *[START + MINUTE], marks, *[START + MINUTE] * 2)
    assert third.events == (paused_event(REFUSED, START + MINUTE),)
    later = refuse(third.record, DOT, now=START + 2 * MINUTE)
    assert later.record == evolve(third.record, refused_at=START + 2 * MINUTE, marks=(*marks[1:], mark_of(DOT)))
    assert later.events == ()


def test_refusals_of_one_of_several_tenants_pause_nothing():
    counting = refuse(None, *ACCOUNTS, is_sole=False)
    assert (counting.record.opened_at, counting.events) == (None, ())
    assert refuse(counting.record, EVE, is_sole=False).record.opened_at == START


def test_a_success_between_begins_the_count_again():
    counting = refuse(None, ANN, BOB).record
    later = START + SECOND
    assert refuse(counting, CEM, now=later, succeeded=True).record == ClientRecord(
        REFUSED, later, later, (mark_of(CEM),)
    )


def test_a_success_is_none_for_a_mismatch():
    scope = evolve(REFUSED, reason=CLIENT_MISMATCH)
    counting = refuse(None, ANN, BOB, scope=scope).record
    assert refuse(counting, CEM, scope=scope, succeeded=True).record.opened_at == START


def test_one_process_takes_a_probe():
    paused = refuse(None, ANN, BOB, CEM).record
    later = START + MINUTE
    first = clients.probed(paused, later, paused.probe_at)
    assert (first.result, first.record, first.events) == (True, evolve(paused, probe_at=later), ())
    second = clients.probed(first.record, later, paused.probe_at)
    assert (second.result, second.record) == (False, first.record)


@pytest.mark.parametrize("record", [None, refuse(None, ANN).record], ids=["nothing", "counting"])
def test_what_is_not_paused_has_no_probe(record):
    assert clients.probed(record, START, None) == ClientDecision(record, result=False)


@pytest.mark.parametrize("record", [None, refuse(None, ANN).record], ids=["nothing", "counting"])
def test_a_count_ends_in_silence(record):
    assert clients.closed(record, START) == ClientDecision(None, result=False)


def test_a_pause_ends_with_an_event():
    later = START + MINUTE
    event = AuditEvent(AuditAction.CLIENT_RESUMED, later, code=INVALID_CLIENT, provider="google")
    assert clients.closed(refuse(None, ANN, BOB, CEM).record, later) == ClientDecision(
        None, result=True, events=(event,)
    )


def test_few_rejections_condemn_and_leave_no_record():
    assert reject(None) == ClientDecision(None, None)


def test_a_mass_of_rejections_pauses_the_client():
    decision = reject(None, mass=True)
    assert decision.record == decision.result == ClientRecord(REJECTED, START, START, (mark_of(ANN),), START, START)
    assert decision.events == (paused_event(REJECTED),)


def test_while_a_fleet_is_spared_nothing_is_condemned():
    paused = reject(None, mass=True).record
    later = START + RULES.longest - SECOND
    decision = reject(paused, later, BOB)
    assert decision.result == decision.record == evolve(paused, refused_at=later, marks=(mark_of(ANN), mark_of(BOB)))
    assert decision.events == ()


@pytest.mark.parametrize("mass", [False, True])
def test_a_pause_that_lasts_too_long_spares_nothing_and_is_not_opened_again(mass):
    paused = reject(None, mass=True).record
    end = START + RULES.longest
    assert reject(paused, end, BOB, mass=mass) == ClientDecision(evolve(paused, refused_at=end), None)


class Facts(RuleBasedStateMachine):
    """The record of one client, about which any facts come at any time, in any order."""

    def __init__(self):
        super().__init__()
        self.now, self.record, self.events = START, None, []

    def take(self, decision, old):
        for event in decision.events:
            assert (event.occurred_at, event.provider, event.tenant_id) == (self.now, "google", None)
        was_open, is_open = (each is not None and each.opened_at is not None for each in (old, decision.record))
        expected = {(False, True): ["client_paused"], (True, False): ["client_resumed"]}.get((was_open, is_open), [])
        assert [event.action.value for event in decision.events] == expected
        self.record = decision.record

    @rule(account=st.sampled_from([*ACCOUNTS, EVE]), succeeded=st.booleans(), is_sole=st.booleans())
    def refused(self, account, succeeded, is_sole):
        decision = clients.refused(
            self.record, self.now, REJECTED, account, RULES, succeeded=succeeded, is_sole=is_sole
        )
        assert decision.record.marks[-1] == mark_of(account)
        assert decision.record.refused_at == self.now
        self.take(decision, self.record)

    @rule(account=st.sampled_from([*ACCOUNTS, EVE]), mass=st.booleans())
    def rejected(self, account, mass):
        old, was_open = self.record, self.record is not None and self.record.opened_at is not None
        was_paused = old is not None and is_paused(old, self.now, RULES)
        decision = reject(old, self.now, account, mass=mass)
        assert (decision.result is not None) == (was_paused or (mass and not was_open))
        self.take(decision, old)

    @rule(is_latest=st.booleans())
    def probed(self, is_latest):
        old = self.record
        decision = clients.probed(old, self.now, old.probe_at if old and is_latest else START - MINUTE)
        assert decision.result == (is_latest and old is not None and old.opened_at is not None)
        if decision.result:
            assert decision.record == evolve(old, probe_at=self.now)
        self.take(decision, old)

    @rule()
    def closed(self):
        self.take(clients.closed(self.record, self.now), self.record)

    @rule(seconds=st.integers(0, 5 * 24 * 3600))
    def time_passes(self, seconds):
        self.now += timedelta(seconds=seconds)

    @invariant()
    def is_whole(self):
        if self.record is None:
            return
        assert (self.record.opened_at is None) == (self.record.probe_at is None)
        assert self.record.since <= self.record.refused_at <= self.now
        assert 1 <= len(self.record.marks) <= RULES.accounts
        assert len(set(self.record.marks)) == len(self.record.marks)


TestFacts = Facts.TestCase
TestFacts.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
