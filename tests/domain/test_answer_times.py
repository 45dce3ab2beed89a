"""No time in a provider's answer is an error, because an error would lose a new refresh token."""

import base64
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.token import TokenRef
from vault_domain.entities.token_set import TokenSet
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.services.refresh.answer_times import drafts_in_time

CENTURY, YEAR, LAST = timedelta(days=36_525), timedelta(days=365), datetime(9999, 1, 1, tzinfo=UTC)
ACCOUNT, ID = Account("t1", "acme"), UUID(int=1)
REF = TokenRef(ACCOUNT.key(TokenKind.REFRESH_TOKEN), ID, 1, ID)
CLOCKS = [datetime(2030, 1, 1, tzinfo=UTC), datetime(9950, 1, 1, tzinfo=UTC)]
NAMES = ["expires_at", "expires_in", "refresh_token_expires_in", "refresh_expires_in", "exp"]
ABSURD = [9999999999, 253370764799, 10**30, 10**400, -5, float("nan"), float("inf"), -float("inf"), True, [], {}]
ABSURD += ["9999999999", "soon", "9" * 33, "-1", "NaN", ""]


def jwt(**claims):
    parts = ({"alg": "none"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts) + ".signature"


@pytest.mark.parametrize("now", CLOCKS, ids=str)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("absurd", ABSURD, ids=lambda value: str(value)[:12])
def test_absurd_times_are_limited_or_ignored(now, name, absurd):
    members = {"access_token": jwt(exp=absurd)} if name == "exp" else {"access_token": "a", name: absurd}
    for received_at in (None, now):
        answer = TokenSet.from_response({"refresh_token": "r", **members}, received_at)
        access, refresh = drafts_in_time(Attempt(ACCOUNT, ID, REF, None, now, YEAR), answer, RefreshPolicy())
        assert refresh.value.reveal() == "r"
        for draft in (access, refresh):
            assert draft.expires_at is None or draft.expires_at <= now + min(CENTURY, LAST - now)
            assert draft.lifetime is None or timedelta(0) < draft.lifetime <= CENTURY
