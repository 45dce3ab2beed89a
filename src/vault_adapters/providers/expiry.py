"""Reads times from a provider's answer: the Retry-After header and the expiry of a JWT."""

from __future__ import annotations

import base64
import email.utils
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from vault_domain.entities.lifetime import read_epoch
from vault_domain.entities.secret import Secret

LONGEST_WAIT = timedelta(hours=1)
"""Longest time that the vault accepts from Retry-After."""

_MAX_JWT_CHARACTERS = 16 * 1024


def retry_after(headers: Mapping[str, str], received_at: datetime) -> timedelta | None:
    """Return the wait that Retry-After asks for (RFC 9110 section 10.2.3), at most an hour; None if there is none.

    The header holds seconds or a date; any other text is ignored. A date is compared with the answer's Date header if
    there is one, because clocks differ.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(timedelta(seconds=int(value[:9])), LONGEST_WAIT)
    until = _http_date(value)
    if until is None:
        return None
    start = _http_date(headers.get("date", "")) or received_at
    return min(max(until - start, timedelta(0)), LONGEST_WAIT)


def jwt_expiry(token: Secret) -> datetime | None:
    """Read the ``exp`` claim of an access token that is a JWT (RFC 7519), without verifying it.

    It is safe without verification, because the vault only schedules the next refresh by it. A time outside of the
    years 2000 to 9998 is ignored.
    """
    text = token.reveal()
    if text.count(".") != 2 or len(text) > _MAX_JWT_CHARACTERS:
        return None
    claims = _decoded(text.split(".")[1])
    moment = claims.get("exp") if isinstance(claims, dict) else None
    return read_epoch(moment) if isinstance(moment, int | float) else None


def _decoded(payload: str) -> object:
    try:
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError):
        return None


def _http_date(value: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
