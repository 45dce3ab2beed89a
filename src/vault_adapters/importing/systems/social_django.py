"""Reads `UserSocialAuth` of social-auth-app-django (python-social-auth, releases 1 to 8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vault_adapters.importing.records import Record
from vault_adapters.importing.systems.columns import as_moment, as_object
from vault_adapters.importing.systems.tables import Tables
from vault_domain.entities.imported import ImportFailure

_ROWS = "SELECT * FROM social_auth_usersocialauth ORDER BY id"
_COUNT = "SELECT count(*) AS rows FROM social_auth_usersocialauth"

_TWO_YEARS = 63_072_000
"""social-core takes a larger ``expires`` for a time, and a smaller one for a number of seconds."""


def count(tables: Tables) -> int:
    """Return the number of rows that `read` reads."""
    return int(next(tables.select(_COUNT))["rows"])


def read(tables: Tables, only: str | None) -> Iterator[Record | ImportFailure]:
    """Yield a row for each token in ``extra_data``: the tenant is the user, and the identifier the ``uid``."""
    for row in tables.select(_ROWS):
        extra = as_object(row["extra_data"])
        if extra is None:
            yield ImportFailure(row["id"], "invalid_extra_data")
            continue
        access, refresh = extra.get("access_token"), extra.get("refresh_token")
        if isinstance(access, Mapping):  # an OAuth 1 token is an object of two texts
            yield ImportFailure(row["id"], "oauth1_token")
            continue
        times = {"created_at": as_moment(row.get("created")), "updated_at": as_moment(row.get("modified"))}
        place = {"tenant_id": row["user_id"], "provider": row["provider"], "identifier": row["uid"], **times}
        if access:
            values = {"kind": "access_token", "value": access, "expires_at": _expiry(extra), "scopes": _scopes(extra)}
            yield Record(row["id"], place | values)
        if refresh:
            yield Record(row["id"], place | {"kind": "refresh_token", "value": refresh})


def _expiry(extra: Mapping[str, Any]) -> Any:
    """Return when the access token expires, as social-core computes it."""
    if (ends := extra.get("expires_on")) is not None:
        return as_moment(ends)
    lasts = extra.get("expires_in") if extra.get("expires_in") is not None else extra.get("expires")
    begun, seconds = _whole(extra.get("auth_time")), _whole(lasts)
    if seconds is None:
        return lasts  # None, or what the format refuses
    if seconds > _TWO_YEARS:
        return as_moment(seconds)
    return None if begun is None else as_moment(begun + seconds)


def _scopes(extra: Mapping[str, Any]) -> Any:
    scopes = extra.get("scope")
    return scopes.replace(",", " ") if isinstance(scopes, str) else scopes


def _whole(value: Any) -> int | None:
    try:
        return None if value is None or isinstance(value, bool) else int(value)
    except (ValueError, TypeError, OverflowError):
        return None
