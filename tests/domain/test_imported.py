"""`ImportedToken` fills in defaults, checks its fields and hides its value; `ImportReport` counts rows."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.imported import IMPORTED_CODE, ImportedToken, ImportFailure, ImportReport
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken, TokenStatus

KEY = TokenKey("t1", "google", "api_key")
SEALED = SealedToken(b"k" * 16, b"blob")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_what_it_does_not_say():
    write = ImportedToken(KEY, "v").seal(SEALED)
    assert (write.key, write.sealed, write.status, write.scopes) == (KEY, SEALED, TokenStatus.VALID, ())
    assert {write.error_code, write.expires_at, write.created_at, write.updated_at, write.last_used_at} == {None}


def test_an_invalid_one_has_a_code():
    assert ImportedToken(KEY, "v", status=TokenStatus.INVALID).seal(SEALED).error_code == IMPORTED_CODE
    assert ImportedToken(KEY, "v", status=TokenStatus.INVALID, error_code="gone").seal(SEALED).error_code == "gone"


def test_it_was_made_when_it_was_changed_where_nothing_else_is_known():
    assert ImportedToken(KEY, "v", updated_at=NOON).seal(SEALED).created_at == NOON
    earlier = NOON - timedelta(days=1)
    assert ImportedToken(KEY, "v", created_at=earlier, updated_at=NOON).seal(SEALED).created_at == earlier


def test_times_become_utc():
    zone = timezone(timedelta(hours=2))
    assert ImportedToken(KEY, "v", expires_at=NOON.astimezone(zone)).expires_at.tzinfo is UTC


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "canary"},
        {"value": 5},
        {"value": "canary\ud800"},
        {"status": "valid"},
        {"error_code": "gone"},
        {"error_code": "Canary text", "status": TokenStatus.INVALID},
        {"scopes": "canary"},
        {"expires_at": NOON.replace(tzinfo=None)},
        {"updated_at": "canary"},
        {"line": "canary"},
        {"line": True},
    ],
)
def test_what_is_refused_is_not_repeated(fields):
    with pytest.raises(InvalidInputError) as caught:
        ImportedToken(**{"key": KEY, "value": "v", **fields})
    assert "canary" not in str(caught.value).lower()
    assert caught.value.__context__ is None


def test_it_does_not_show_its_value():
    assert "canary" not in repr(ImportedToken(KEY, Secret("canary")))
    assert "blob" not in repr(ImportedToken(KEY, "v").seal(SEALED))


def test_each_row_counts_once():
    report = ImportReport(imported=1, replaced=2, skipped=3, failed=4, failures=(ImportFailure(1, "not_json"),))
    assert report.rows == 10
