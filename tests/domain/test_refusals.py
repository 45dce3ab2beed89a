"""A run of definite refusals: how long an account waits, and when its credential is exhausted."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import (
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
)
from vault_domain.entities.refresh_state import AccountRecord, RefreshState
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.token import TokenInfo, TokenStatus
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.rules.refresh import BackOff, Claim, RefreshRule, decide
from vault_domain.rules.refusals import (
    DEFAULT_EXHAUSTION,
    is_exhausted,
    is_refusal,
    refused_for,
    wait_after,
)
from vault_domain.rules.timing import RefreshTiming

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def asked_every(gap, most, exhaustion=DEFAULT_EXHAUSTION, jitter=0.5):
    """Return the times of the attempts at a provider that always refuses, until the credential is exhausted.

    Args:
        gap: time between two requests of the caller; a request during a wait makes no attempt.
        most: largest number of attempts.
        exhaustion: length of a run after which the credential is exhausted.
        jitter: the random number of each wait.
    """
    state, now, attempts = RefreshState(), NOW, []
    while len(attempts) < most:
        attempts.append(now)
        run = refused_for(state, now, exhaustion)
        if is_exhausted(run, exhaustion):
            break
        state = RefreshState(refused_since=now - run, refused_for=run)
        wait = wait_after(run, jitter)
        now += max(1, -(-wait // gap)) * gap
    return attempts


@given(st.floats(0, 1), st.sampled_from([SECOND, MINUTE, HOUR]))
@example(0.0, SECOND)
@example(1.0, SECOND)
@example(0.0, HOUR)
def test_a_dead_grant_is_asked_for_twenty_times_at_most_and_for_four_days_at_least(jitter, gap):
    attempts = asked_every(gap, 100, jitter=jitter)
    assert 5 <= len(attempts) <= 20
    assert 4 * DAY <= attempts[-1] - attempts[0] < 8 * DAY


def test_a_dead_grant_that_is_asked_for_once_a_day_is_exhausted_after_four_days():
    attempts = asked_every(DAY, 100, jitter=0.0)
    assert [attempt - NOW for attempt in attempts] == [days * DAY for days in range(5)]


@pytest.mark.parametrize("exhaustion", [MINUTE, HOUR, DEFAULT_EXHAUSTION, 30 * DAY])
def test_four_refusals_never_exhaust(exhaustion):
    assert len(asked_every(365 * DAY, 100, exhaustion)) >= 5


@pytest.mark.parametrize("refusals", [1, 2, 4, 8, 12])
def test_a_clock_that_is_set_forward_exhausts_nothing(refusals):
    state, now = RefreshState(), NOW
    for _ in range(refusals):
        run = refused_for(state, now, DEFAULT_EXHAUSTION)
        state = RefreshState(refused_since=now - run, refused_for=run)
        now += wait_after(run, 0.0)
    assert state.refused_for < DAY
    run = refused_for(state, now + 4 * DAY, DEFAULT_EXHAUSTION)
    assert run <= state.refused_for + DAY
    assert not is_exhausted(run, DEFAULT_EXHAUSTION)


def test_a_clock_that_is_set_back_keeps_the_run():
    state = RefreshState(refused_since=NOW, refused_for=HOUR)
    assert refused_for(state, NOW - 10 * DAY, DEFAULT_EXHAUSTION) == HOUR


def test_the_first_refusal_begins_a_run():
    assert refused_for(RefreshState(failures=9), NOW, DEFAULT_EXHAUSTION) == timedelta(0)


@given(st.integers(0, 10 * 86_400).map(lambda seconds: seconds * SECOND), st.floats(0, 1))
def test_a_wait_is_from_fifteen_seconds_to_a_day_and_not_shorter_than_the_run(run, jitter):
    wait = wait_after(run, jitter)
    assert max(15 * SECOND, min(run, DAY)) <= wait <= min(2 * max(run, 15 * SECOND), DAY)


@pytest.mark.parametrize(
    ("wait", "refused_since", "waits"),
    [(HOUR, None, True), (2 * HOUR, None, False), (DAY, NOW, True), (DAY + HOUR, NOW, False)],
)
def test_a_wait_that_is_too_long_shows_that_the_clock_was_set_back(wait, refused_since, waits):
    account = Account("t1", "acme")
    key, value_id = account.key(TokenKind.REFRESH_TOKEN), UUID(int=7)
    credential = TokenInfo(
        UUID(int=1), key, TokenStatus.VALID, None, None, (), 1, None, None, None, NOW, NOW, value_id
    )  # fmt: skip
    state = RefreshState(value_id, next_attempt_at=NOW + wait, failures=1, refused_since=refused_since)
    record = AccountRecord(account, {TokenKind.REFRESH_TOKEN: credential}, refresh=state)
    rule = RefreshRule(TokenKind.REFRESH_TOKEN, Rotation.strict(), RefreshTiming())
    decision = decide(record, NOW, RefreshPolicy(), rule)
    is_refused = refused_since is not None
    assert decision == BackOff(wait, refused=is_refused) if waits else isinstance(decision, Claim)


def test_accounts_that_were_refused_together_are_asked_apart():
    assert wait_after(HOUR, 0.0) == HOUR
    assert wait_after(HOUR, 1.0) == 2 * HOUR


@pytest.mark.parametrize("reason", [None, "unauthorized_client", "invalid_scope", "invalid_request"])
def test_an_answer_that_refuses_the_account_is_a_refusal(reason):
    assert is_refusal(ProviderConfigurationError(reason=reason), reason)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ProviderConfigurationError(reason="invalid_client"), "invalid_client"),
        (ProviderConfigurationError(refused=False), None),
        (RefreshFailedError(), None),
        (RefreshFailedError(outcome_unknown=True), "server_error"),
        (ReauthorizationRequiredError(reason="invalid_grant"), "invalid_grant"),
    ],
)
def test_other_errors_are_no_refusals_of_the_account(error, reason):
    assert not is_refusal(error, reason)
