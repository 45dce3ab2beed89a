"""Reads the time of an answer's Retry-After header."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

LONGEST_WAIT = timedelta(hours=1)
"""Longest wait that the vault takes from Retry-After; a longer one is shortened to it."""


def retry_after(headers: Mapping[str, str], received_at: datetime) -> timedelta | None:
    """Return the wait that Retry-After asks for (RFC 9110 section 10.2.3), at most an hour; None without the header.

    The header holds seconds or a date; any other text counts as no header. A date is compared with the answer's
    Date header if there is one, because clocks differ.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(timedelta(seconds=int(value[:9])), LONGEST_WAIT)
    until = _http_date(value)
    if until is None:
        return None
    start = _http_date(headers.get("date", "")) or received_at
    return min(max(until - start, timedelta(0)), LONGEST_WAIT)


def _http_date(value: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
