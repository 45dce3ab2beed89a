"""The connection state of an account, which a host shows to its user."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from attrs import evolve

from vault_domain import Account, ConnectionState, TokenInfo, TokenKind, TokenStatus
from vault_domain.entities.refresh_state import AccountRecord, RefreshState
from vault_domain.rules.connection import describe_account

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ACCOUNT = Account("t", "google", "ana")
ACCESS, REFRESH, API_KEY = TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN, TokenKind.API_KEY
CONNECTED, RETRYING, REAUTHORIZE = ConnectionState


def info(kind, **changes):
    plain = TokenInfo(
        UUID(int=list(TokenKind).index(kind) + 1), ACCOUNT.key(kind), TokenStatus.VALID, None, None, (), 1,
        None, None, None, NOW, NOW, UUID(int=list(TokenKind).index(kind) + 10),
    )  # fmt: skip
    return evolve(plain, **changes)


def record(*tokens, **refresh):
    state = RefreshState(credential_value_id=info(REFRESH).value_id, **refresh)
    return AccountRecord(ACCOUNT, {token.key.kind: token for token in tokens}, "label", state)


good, expired = info(ACCESS, expires_at=NOW + HOUR), info(ACCESS, expires_at=NOW)
dead = info(REFRESH, status=TokenStatus.INVALID, error_code="invalid_grant")


@pytest.mark.parametrize(
    ("account", "state", "reason"),
    [
        (record(good, info(REFRESH)), CONNECTED, None),
        (record(expired, info(REFRESH)), CONNECTED, None),
        (record(good), CONNECTED, None),
        (record(expired), REAUTHORIZE, "token_expired"),
        (record(good, dead), REAUTHORIZE, "invalid_grant"),
        (record(info(REFRESH)), CONNECTED, None),
        (record(info(REFRESH, expires_at=NOW)), REAUTHORIZE, "token_expired"),
        (record(info(API_KEY)), CONNECTED, None),
        (record(evolve(good, status=TokenStatus.INVALID, error_code="revoked")), REAUTHORIZE, "revoked"),
        (record(good, info(REFRESH), failures=2), RETRYING, "temporarily_unavailable"),
        (record(good, info(REFRESH), failures=2, error_code="server_error"), RETRYING, "server_error"),
        (record(good, info(REFRESH), failures=2, refused_since=NOW), RETRYING, "refused"),
        (
            record(good, info(REFRESH), failures=2, refused_since=NOW, error_code="invalid_scope"),
            RETRYING,
            "invalid_scope",
        ),
        (
            record(good, info(REFRESH), failures=2, refused_since=NOW - HOUR, sent_at=NOW, next_attempt_at=NOW + HOUR),
            RETRYING,
            "temporarily_unavailable",
        ),
        (record(good, info(REFRESH), failures=2, refused_since=NOW, unknown_since=NOW - HOUR), RETRYING, "refused"),
        (record(good, info(REFRESH), unknown_since=NOW - HOUR), RETRYING, "outcome_unknown"),
        (record(good, info(REFRESH), lease_until=NOW), RETRYING, "outcome_unknown"),
        (record(good, info(REFRESH), unknown_since=NOW - HOUR, error_code="timeout"), RETRYING, "timeout"),
        (record(good, info(REFRESH), lease_until=NOW, failures=1, error_code="timeout"), RETRYING, "outcome_unknown"),
        (record(good, info(REFRESH), lease_until=NOW + HOUR / 60), CONNECTED, None),
        (record(good, info(REFRESH), lease_until=NOW + HOUR), RETRYING, "outcome_unknown"),  # the clock was set back
        (record(good, info(REFRESH, status=TokenStatus.UNKNOWN)), CONNECTED, None),
        (record(good, info(REFRESH, status=TokenStatus.UNKNOWN, error_code="a")), RETRYING, "a"),
        (record(good, info(REFRESH, value_id=UUID(int=99)), failures=2), CONNECTED, None),
    ],
)
def test_state(account, state, reason):
    described = describe_account(account, NOW)
    assert (described.state, described.reason) == (state, reason)
    assert described.label == "label"


def test_the_credential_is_the_kind_that_the_refresher_spends():
    account = record(expired, info(API_KEY), dead)
    assert describe_account(account, NOW, API_KEY).state is CONNECTED
    assert describe_account(account, NOW, REFRESH).state is REAUTHORIZE


def test_a_token_that_is_its_own_credential_is_gone_once_the_provider_says_so():
    assert describe_account(record(good), NOW, ACCESS).state is CONNECTED
    assert describe_account(record(expired), NOW, ACCESS).state is CONNECTED  # its lifetime may be an assumption
    refused = evolve(expired, status=TokenStatus.INVALID, error_code="invalid_grant")
    described = describe_account(record(refused), NOW, ACCESS)
    assert (described.state, described.reason) == (REAUTHORIZE, "invalid_grant")


def test_the_next_attempt_shows_only_while_retrying():
    due = NOW + HOUR
    assert describe_account(record(good, info(REFRESH), failures=1, next_attempt_at=due), NOW).next_attempt_at == due
    assert describe_account(record(good, info(REFRESH), next_attempt_at=due), NOW).next_attempt_at is None


def test_what_a_host_shows_of_the_access_token():
    access = evolve(good, scopes=("a",), last_refreshed_at=NOW - HOUR)
    shown = describe_account(record(access, info(REFRESH)), NOW)
    assert (shown.scopes, shown.expires_at, shown.last_refreshed_at) == (("a",), NOW + HOUR, NOW - HOUR)
    shown = describe_account(record(info(REFRESH)), NOW)
    assert (shown.scopes, shown.expires_at, shown.last_refreshed_at) == ((), None, None)


def test_a_key_that_cannot_be_used_is_retried_unless_the_user_must_reconnect():
    described = describe_account(record(good, info(REFRESH)), NOW, None, "key_denied")
    assert (described.state, described.reason) == (RETRYING, "key_denied")
    described = describe_account(record(good, dead), NOW, None, "key_denied")
    assert (described.state, described.reason) == (REAUTHORIZE, "invalid_grant")
