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


def until_reset(headers: Mapping[str, str], received_at: datetime) -> timedelta | None:
    """Return the wait until ``x-ratelimit-reset`` (a Unix time), at most an hour; None if the limit is not used up."""
    value = headers.get("x-ratelimit-reset", "").strip()
    if headers.get("x-ratelimit-remaining") != "0" or not (value.isascii() and value.isdigit()):
        return None
    start = _http_date(headers.get("date", "")) or received_at
    wait = timedelta(seconds=int(value[:12])) - (start - datetime(1970, 1, 1, tzinfo=UTC))
    return min(max(wait, timedelta(0)), LONGEST_WAIT)


def clock_skew(headers: Mapping[str, str], received_at: datetime) -> timedelta | None:
    """Return by how much this machine's clock is ahead of the Date of an answer; negative: behind; None: no Date."""
    date = _http_date(headers.get("date", ""))
    return None if date is None else received_at - date


def _http_date(value: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
