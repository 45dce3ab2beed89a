"""Times that a provider tells: Retry-After in both forms, and the expiry written in a JWT."""

from __future__ import annotations

import base64
import email.utils
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from vault_domain.entities.secret import Secret

LONGEST_WAIT = timedelta(hours=1)
"""The most that a provider's Retry-After may ask for."""

_EARLIEST_EPOCH, _LATEST_EPOCH = 946_684_800, 253_370_764_800  # the years 2000 to 9998
_MAX_JWT_CHARACTERS = 16 * 1024


def retry_after(headers: Mapping[str, str], received_at: datetime) -> timedelta | None:
    """Read Retry-After (RFC 9110 section 10.2.3): seconds or a date; at most an hour, None where there is none.

    A date counts from the answer's own Date, where it has one: clocks differ.
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

    It only plans the next refresh; whether the token is good is for the resource to say.
    """
    text = token.reveal()
    if text.count(".") != 2 or len(text) > _MAX_JWT_CHARACTERS:
        return None
    claims = _decoded(text.split(".")[1])
    moment = claims.get("exp") if isinstance(claims, dict) else None
    if not isinstance(moment, int | float) or isinstance(moment, bool):
        return None
    return datetime.fromtimestamp(moment, UTC) if _EARLIEST_EPOCH <= moment < _LATEST_EPOCH else None


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
