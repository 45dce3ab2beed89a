"""Which credential a refresh state concerns, and since when an outcome is unknown."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from attrs import evolve

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.refresh_state import RefreshState
from vault_domain.entities.token import TokenInfo, TokenStatus

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CREDENTIAL = TokenInfo(
    id=UUID(int=1),
    key=Account("t1", "acme").key(TokenKind.REFRESH_TOKEN),
    status=TokenStatus.VALID,
    error_code=None,
    expires_at=None,
    scopes=(),
    generation=2,
    last_used_at=None,
    last_refreshed_at=None,
    lifetime=None,
    created_at=NOW,
    updated_at=NOW,
    value_id=UUID(int=2),
)
STATE = RefreshState(credential_value_id=CREDENTIAL.value_id)


def test_it_speaks_of_its_own_credential():
    assert STATE.concerns(CREDENTIAL)


@pytest.mark.parametrize(
    "other",
    [None, evolve(CREDENTIAL, value_id=UUID(int=9))],
    ids=["none", "another value of the same generation"],
)
def test_it_speaks_of_no_other(other):
    assert not STATE.concerns(other)


@pytest.mark.parametrize(
    ("lease_until", "unknown_since", "expected"),
    [
        (None, None, None),
        (NOW + SECOND, None, None),
        (NOW, None, NOW),
        (NOW - 100 * SECOND, None, NOW - 100 * SECOND),
        (None, NOW - 10 * SECOND, NOW - 10 * SECOND),
        (NOW - 100 * SECOND, NOW - 10 * SECOND, NOW - 10 * SECOND),
        (NOW - 10 * SECOND, NOW - 100 * SECOND, NOW - 10 * SECOND),
        (NOW + SECOND, NOW - 10 * SECOND, NOW - 10 * SECOND),
    ],
)
def test_since_when_an_outcome_is_unknown(lease_until, unknown_since, expected):
    state = RefreshState(lease_until=lease_until, unknown_since=unknown_since)
    assert state.unknown_at(NOW) == expected


@pytest.mark.parametrize(
    ("lease_until", "expected"),
    [(None, "client_mismatch"), (NOW + SECOND, "client_mismatch"), (NOW, None), (NOW - SECOND, None)],
)
def test_the_code_of_an_earlier_failure_does_not_explain_an_attempt_whose_lease_ran_out(lease_until, expected):
    assert RefreshState(lease_until=lease_until, error_code="client_mismatch").latest_code(NOW) == expected


REFUSED = RefreshState(
    sent_at=NOW, next_attempt_at=NOW + 60 * SECOND, refused_since=NOW - 30 * SECOND, refused_for=31 * SECOND
)
"""An attempt at NOW, which was refused a second later; the first refusal was 30 seconds ago."""
LATER = NOW + 10 * SECOND


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"error_code": "invalid_request"}, True),
        ({"error_code": "unreadable_answer"}, True),
        ({"refused_since": None}, False),
        # A later attempt failed, but was not refused.
        ({"sent_at": NOW + 2 * SECOND}, False),
        ({"sent_at": NOW + SECOND}, True),
        # The clock was set back, and then there was an outage.
        ({"sent_at": NOW - 3600 * SECOND, "error_code": "temporarily_unavailable"}, False),
        # A later attempt runs, or was released, so `sent_at` does not tell when the refused one began.
        ({"sent_at": NOW + 2 * SECOND, "next_attempt_at": None}, True),
        ({"sent_at": NOW + 2 * SECOND, "next_attempt_at": None, "lease_until": LATER + SECOND}, True),
        ({"sent_at": NOW + 2 * SECOND, "next_attempt_at": None, "lease_until": LATER}, False),
        # `sent_at` is the time of an attempt with an unknown outcome. The outcome became unknown after the refusal in
        # the first case, and before it in the others.
        ({"unknown_since": NOW + 2 * SECOND}, False),
        ({"sent_at": NOW - 90 * SECOND, "unknown_since": NOW - 60 * SECOND}, True),
        ({"sent_at": NOW - 90 * SECOND, "unknown_since": NOW - 60 * SECOND, "error_code": "timeout"}, False),
    ],
)
def test_whether_the_latest_attempt_was_refused(changes, expected):
    assert evolve(REFUSED, **changes).was_refused(LATER) is expected
