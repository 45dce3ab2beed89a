"""What a decision says beside the new state: its result, whether it must be durable, and who is told when and what."""

from uuid import uuid4

import pytest
from attrs import evolve
from tests.domain.account_facts import (
    HOUR,
    LEASE,
    MINUTE,
    SECOND,
    START,
    R,
    attempt_on,
    claimed,
    failed,
    with_values,
    write,
)

from vault_domain.entities.account_state import AccountState
from vault_domain.entities.attempt import Commit, CommitOutcome, Failure
from vault_domain.entities.audit import AuditAction
from vault_domain.transitions import attempts

LATER = START + HOUR
ENDPOINT = b"e" * 16


def begin(state):
    """Claim an account."""
    attempt = attempt_on(state, endpoint=ENDPOINT)
    return attempts.claimed(state, LATER, attempt, state.refresh.attempt_id)


def conflict(state):
    """Claim an account that somebody else has claimed meanwhile."""
    return attempts.claimed(state, LATER, attempt_on(state), uuid4())


def fail(state):
    state, attempt = claimed(state, LATER)
    return attempts.failed(state, LATER, attempt, Failure("x", SECOND, unknown=False), "ann")


def answer(state):
    state, attempt = claimed(state, LATER)
    return attempts.answered(state, LATER, attempt, [write(R, refreshed=True)], "ann")


def answer_twice(state):
    state, attempt = claimed(state, LATER)
    writes = [write(R, refreshed=True)]
    return attempts.answered(
        attempts.answered(state, LATER, attempt, writes, "ann").state, LATER, attempt, writes, "ann"
    )


def answer_too_late(state):
    state, attempt = claimed(state, LATER)
    return attempts.answered(with_values(R, state=state), LATER, attempt, [write(R, refreshed=True)], "ann")


def reject(state):
    state, attempt = claimed(state, LATER)
    return attempts.rejected(state, LATER, attempt, "invalid_grant", "ann")


def reject_twice(state):
    state, attempt = claimed(state, LATER)
    rejected = attempts.rejected(state, LATER, attempt, "invalid_grant", "ann").state
    return attempts.rejected(rejected, LATER, attempt, "invalid_grant", "ann")


def renew(state):
    state, attempt = claimed(state, LATER)
    return attempts.renewed(state, LATER, attempt, MINUTE)


WRITTEN, MOVED = Commit(CommitOutcome.WRITTEN), Commit(CommitOutcome.CREDENTIAL_MOVED)
INVALIDATED, REQUIRED = (
    (AuditAction.TOKEN_INVALIDATED, "invalid_grant"),
    (
        AuditAction.REAUTHORIZATION_REQUIRED,
        "invalid_grant",
    ),
)


@pytest.mark.parametrize(
    ("change", "state", "result", "durable", "told"),
    [
        (begin, with_values(), LATER, True, []),
        (begin, claimed()[0], LATER, True, [(AuditAction.REFRESH_OUTCOME_UNKNOWN, None)]),
        (conflict, with_values(), None, False, []),
        (renew, with_values(), True, True, []),
        (fail, with_values(), None, False, [(AuditAction.REFRESH_FAILING, "x")]),
        (fail, failed(), None, False, []),
        (answer, with_values(), WRITTEN, True, [(AuditAction.TOKEN_REFRESHED, None)]),
        (answer, failed(), WRITTEN, True, [(AuditAction.TOKEN_REFRESHED, None), (AuditAction.REFRESH_RECOVERED, None)]),
        (answer_twice, with_values(), WRITTEN, False, []),
        (answer_too_late, with_values(), MOVED, True, []),
        (reject, with_values(), True, True, [INVALIDATED, REQUIRED]),
        (reject_twice, with_values(), True, True, []),
    ],
)
def test_a_decision_about_an_attempt(change, state, result, durable, told):
    decision = change(state)
    assert (decision.result, decision.durable) == (result, durable)
    assert [(event.action, event.code) for event in decision.events] == told
    actor = None if change is begin else "ann"
    assert all((event.occurred_at, event.actor, event.tenant_id) == (LATER, actor, "t1") for event in decision.events)


def test_a_claim_keeps_the_endpoint_and_a_conflict_changes_nothing():
    state = with_values()
    assert begin(state).state.row.endpoint == ENDPOINT
    assert conflict(state).state is state
    held, attempt = claimed(state)
    again = attempts.claimed(held, START, attempt_on(held), attempt.attempt_id)
    assert (again.state, again.result) == (held, None)
    assert again.state is held


def test_a_failure_concerns_the_credential_that_is_stored_now():
    state, attempt = claimed()
    other = evolve(attempt, credential=evolve(attempt.credential, value_id=uuid4()))
    new = attempts.failed(state, START, other, Failure("x", SECOND, unknown=False), None).state
    assert new.refresh.credential_value_id == other.credential.value_id


def test_an_answer_to_the_credential_of_another_value_ends_the_lease_now():
    state, attempt = claimed()
    moved = with_values(R, state=state)
    late = attempts.answered(moved, LATER, attempt, [write(R, refreshed=True)], None).state
    assert (late.refresh.lease_until, late.row.due_at) == (None, LATER)


def test_a_claim_that_is_withdrawn_after_it_arrived_is_released():
    state, attempt = claimed()
    decision = attempts.withdrawn(state, LATER, attempt, None)
    assert decision == attempts.released(state, LATER, attempt)
    assert (decision.state.refresh.lease_until, decision.state.row.due_at) == (None, LATER)


@pytest.mark.parametrize("before", [with_values(), failed()], ids=["never refreshed", "refreshed before"])
def test_a_claim_that_is_withdrawn_before_it_arrived_finds_a_conflict(before):
    attempt, seen = attempt_on(before), before.refresh.attempt_id
    decision = attempts.withdrawn(before, LATER, attempt, seen)
    assert decision.state == before.with_row(
        refresh=evolve(before.refresh, attempt_id=attempt.attempt_id), due_at=before.row and before.row.due_at
    )
    assert (decision.result, decision.durable, decision.events) == (None, False, ())
    assert attempts.claimed(decision.state, LATER, attempt, seen).result is None


def test_nothing_is_withdrawn_if_another_attempt_or_value_has_come():
    state, _ = claimed()
    other = attempt_on(state)
    gone = AccountState(state.account)
    for now_stored in (state, gone, with_values(R, state=state)):
        decision = attempts.withdrawn(now_stored, LATER, other, None)
        assert decision.state is now_stored
        assert decision.result is None
    assert state.refresh.lease_until == START + LEASE
