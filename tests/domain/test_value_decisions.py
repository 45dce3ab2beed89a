"""What a decision about a stored value says: state, result, durability and events."""

from datetime import timedelta
from uuid import UUID

import pytest
from attrs import evolve
from tests.domain.account_facts import (
    ACCOUNT,
    HOUR,
    LEASE,
    MINUTE,
    SECOND,
    START,
    A,
    R,
    claimed,
    failed,
    with_values,
    write,
)

from vault_domain.entities.account import TokenKind
from vault_domain.entities.account_state import AccountState
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.entities.token import MarkOutcome, TokenRef, TokenStatus
from vault_domain.transitions import attempts
from vault_domain.transitions.attempts import mark_of
from vault_domain.transitions.values import (
    cleared,
    deleted,
    end_told,
    is_ending,
    marked,
    reported,
    rescheduled,
    revived,
    stored_set,
)

LATER = START + HOUR
WINDOW = ConfirmationWindow()
STORED = with_values()
OTHER = with_values(R, state=STORED)


def ref(state, kind=A):
    return TokenRef.of(state.tokens[kind].info)


def event(action, kind=A, code=None, generation=1):
    return AuditEvent(
        action, LATER, tenant_id="t1", account=ACCOUNT, kind=kind, generation=generation, actor="ann", code=code
    )


def unchanged(decision, state, result):
    assert decision.state is state
    assert (decision.result, decision.events, decision.durable) == (result, (), False)


def test_a_mark_is_durable_and_told():
    decision = marked(STORED, LATER, ref(STORED), "x", "ann")
    info = decision.state.tokens[A].info
    assert (info.status, info.error_code, info.updated_at) == (TokenStatus.INVALID, "x", LATER)
    assert (decision.result, decision.durable) == (MarkOutcome.APPLIED, True)
    assert decision.events == (event(AuditAction.TOKEN_INVALIDATED, code="x"),)
    unchanged(marked(decision.state, LATER, ref(STORED), "y", "ann"), decision.state, MarkOutcome.ALREADY_INVALID)


def test_a_mark_of_a_value_that_was_replaced_is_stale():
    unchanged(marked(OTHER, LATER, ref(STORED, R), "x", "ann"), OTHER, MarkOutcome.STALE)
    unchanged(reported(OTHER, LATER, ref(STORED, R), "x", WINDOW, "ann"), OTHER, MarkOutcome.STALE)


def test_a_report_makes_a_value_suspect_and_a_confirming_one_invalid():
    first = reported(STORED, LATER, ref(STORED), "x", WINDOW, "ann")
    assert first.state == STORED.with_token(STORED.tokens[A], suspect_since=LATER)
    assert (first.result, first.durable) == (MarkOutcome.SUSPECTED, True)
    assert first.events == (event(AuditAction.TOKEN_SUSPECTED, code="x"),)
    early = reported(first.state, LATER + WINDOW.least - SECOND, ref(STORED), "x", WINDOW, "ann")
    unchanged(early, first.state, MarkOutcome.SUSPECTED)
    at = LATER + WINDOW.least
    second = reported(first.state, at, ref(STORED), "x", WINDOW, "ann")
    assert second == marked(first.state, at, ref(STORED), "x", "ann")
    assert second.result is MarkOutcome.APPLIED
    unchanged(reported(second.state, at, ref(STORED), "x", WINDOW, "ann"), second.state, MarkOutcome.ALREADY_INVALID)


def test_deleted_values_are_counted_and_told():
    decision = deleted(OTHER, LATER, [R, A, TokenKind.API_KEY], "ann")
    assert (decision.result, decision.durable) == (2, False)
    assert sorted(decision.events, key=lambda each: each.kind) == sorted(
        [event(AuditAction.TOKEN_DELETED), event(AuditAction.TOKEN_DELETED, R, generation=2)],
        key=lambda each: each.kind,
    )
    unchanged(deleted(STORED, LATER, [TokenKind.API_KEY], "ann"), STORED, 0)


def test_a_damaged_value_is_deleted_and_told_without_its_generation():
    damaged = AccountState(ACCOUNT, damaged={A: 0, R: 7})
    decision = deleted(damaged, LATER, [A, R], "ann")
    assert decision.result == 2
    assert {each.kind: each.generation for each in decision.events} == {A: None, R: 7}


def test_only_the_value_that_is_named_is_deleted():
    token = STORED.tokens[A]
    unchanged(deleted(STORED, LATER, [A], None, evolve(TokenRef.of(token.info), value_id=UUID(int=9))), STORED, 0)
    assert deleted(STORED, LATER, [A], None, TokenRef.of(token.info)).result == 1


def condemned(state=None):
    """Return an account whose refresh token the provider has rejected, and the reference to it."""
    state, attempt = claimed(state)
    return attempts.rejected(state, START, attempt, "invalid_grant", None).state, attempt.credential


@pytest.mark.parametrize("anew", [True, False, None])
def test_a_revival_makes_a_credential_valid_and_is_told(anew):
    state, credential = condemned(failed(unknown=True))
    more = {} if anew is None else {"anew": anew}
    decision = revived(state, LATER, credential, MINUTE, "ann", **more)
    token = decision.state.tokens[R]
    assert token.info == evolve(
        STORED.tokens[R].info,
        id=token.info.id,
        value_id=token.info.value_id,
        created_at=token.info.created_at,
        updated_at=LATER,
    )
    assert (decision.result, decision.durable) == (True, False)
    assert decision.events == (event(AuditAction.ACCOUNT_REVIVED, R, "invalid_grant"),)
    assert decision.state.row.due_at == LATER + MINUTE
    kept = anew is False
    assert (decision.state.refresh.failures, decision.state.refresh.unknown_since) == (
        (1, START) if kept else (0, None)
    )


def test_a_revival_keeps_the_lease_of_a_running_attempt():
    state, credential = condemned()
    held = state.with_row(refresh=evolve(state.refresh, lease_until=LATER + LEASE))
    assert revived(held, LATER, credential, MINUTE, None).state.refresh.lease_until == LATER + LEASE
    assert revived(held, LATER + LEASE, credential, MINUTE, None).state.refresh.lease_until is None


@pytest.mark.parametrize("how", ["valid", "marked by the host", "expired", "replaced"])
def test_what_no_refresh_has_condemned_is_not_revived(how):
    state, credential = condemned(with_values(expires_at=LATER) if how == "expired" else None)
    if how == "valid":
        state, credential = STORED, ref(STORED, R)
    elif how == "marked by the host":
        state, credential = marked(STORED, START, ref(STORED, R), "x", None).state, ref(STORED, R)
    elif how == "replaced":
        state = with_values(R, state=state)
    unchanged(revived(state, LATER, credential, MINUTE, "ann"), state, False)


def test_an_end_that_is_near_is_told_once():
    ending = with_values(R, expires_at=LATER + HOUR)
    decision = end_told(ending, LATER, HOUR, "ann")
    assert decision.state == ending.with_tokens(evolve(ending.tokens[R], is_end_told=True))
    assert (decision.result, decision.events) == (True, (event(AuditAction.REFRESH_TOKEN_EXPIRING, R),))
    unchanged(end_told(decision.state, LATER, HOUR, "ann"), decision.state, False)
    unchanged(end_told(ending, START, HOUR, "ann"), ending, False)


@pytest.mark.parametrize(
    ("left", "lifetime", "status", "expected"),
    [
        (HOUR, None, TokenStatus.VALID, True),
        (HOUR + SECOND, None, TokenStatus.VALID, False),
        (SECOND, None, TokenStatus.UNKNOWN, True),
        (timedelta(0), None, TokenStatus.VALID, False),
        (HOUR, None, TokenStatus.INVALID, False),
        (None, None, TokenStatus.VALID, False),
        (MINUTE, 2 * MINUTE, TokenStatus.VALID, True),
        (MINUTE + SECOND, 2 * MINUTE, TokenStatus.VALID, False),
    ],
)
def test_when_an_end_is_near(left, lifetime, status, expected):
    info = evolve(
        STORED.tokens[R].info, expires_at=None if left is None else LATER + left, lifetime=lifetime, status=status
    )
    assert is_ending(info, LATER, HOUR) is expected


def test_a_consent_stores_values_and_label_and_ends_what_failed():
    before = failed(unknown=True).with_row(label="old")
    decision = stored_set(before, LATER, [write(A), write(R)], "new", "ann")
    assert decision.result == (decision.state.record, LATER)
    assert [each.actor for each in decision.events] == ["ann", "ann"]
    assert (decision.state.row.label, decision.state.refresh.failures) == ("new", 0)
    assert stored_set(before, LATER, [write(A)], None, "ann").state.row.label == "old"
    held, _ = claimed(now=LATER)
    assert stored_set(held, LATER, [write(A)], None, None).state.refresh.lease_until == LATER + LEASE


def test_an_account_without_a_row_has_no_schedule_and_nothing_to_clear():
    bare = AccountState(ACCOUNT)
    assert rescheduled(bare, LATER).state is bare
    assert cleared(bare, LATER) is bare


def test_the_mark_of_a_credential():
    info = STORED.tokens[R].info
    assert mark_of(info) is None
    invalid = evolve(info, status=TokenStatus.INVALID)
    assert [mark_of(invalid), mark_of(evolve(invalid, error_code="x"))] == ["invalid_grant", "x"]
