"""Reads lifetime and expiry from a provider's answer, and limits a refresh buffer or horizon by the lifetime.

An unusual time in an answer must not make the vault lose the answer's tokens. So a time too far ahead is limited, and a
value that is no time is ignored.
"""

import math
from datetime import UTC, datetime, timedelta

from vault_domain.entities.text import LATEST

LONGEST_LIFETIME = timedelta(days=36_525)
"""The longest lifetime that the vault keeps: 100 years."""

_LONGEST_SECONDS = LONGEST_LIFETIME.total_seconds()

_EARLIEST_EPOCH = 946_684_800  # the year 2000; a smaller number is a lifetime that was sent as a Unix time by mistake
_END_OF_EPOCHS = 253_370_764_800  # the year 9999


def read_lifetime(value: object) -> timedelta | None:
    """Read a number of seconds, limited to 100 years; return None if it is missing, negative or not finite."""
    number = _number(value)
    if number is None or number < 0:
        return None
    return timedelta(seconds=min(number, _LONGEST_SECONDS))


def read_epoch(value: object) -> datetime | None:
    """Read a Unix time in seconds; return None if it is missing or outside of the years 2000 to 9998."""
    number = _number(value)
    if number is None or not _EARLIEST_EPOCH <= number < _END_OF_EPOCHS:
        return None
    return datetime.fromtimestamp(number, UTC)


def limited_expiry(expires_at: datetime, start: datetime) -> datetime:
    """Return an expiry, limited to 100 years after ``start``."""
    return expires_at if LATEST - start <= LONGEST_LIFETIME else min(expires_at, start + LONGEST_LIFETIME)


def expiry_after(start: datetime, lifetime: timedelta) -> datetime:
    """Return the expiry of a value that was issued at ``start``, limited to the latest time that can be stored."""
    return start + min(lifetime, LATEST - timedelta(seconds=1) - start)


def capped(wanted: timedelta, lifetime: timedelta | None) -> timedelta:
    """Return ``wanted``, but at most half of the lifetime if the lifetime is known.

    ``wanted`` is a length of time before expiry, such as the refresh buffer. Without the limit, a token whose lifetime
    is shorter than the buffer would be due as soon as it is stored.
    """
    # Round down to whole microseconds, as the SQL of the stores does.
    return wanted if lifetime is None else min(wanted, lifetime // 2)


def is_ending(expires_at: datetime | None, lifetime: timedelta | None, now: datetime, notice: timedelta) -> bool:
    """Return whether a value expires within ``notice`` after ``now``.

    Args:
        expires_at: the value's expiry; None: it never ends.
        lifetime: the time for which the provider issued the value, if known.
        now: the present time.
        notice: time before the expiry from which the value counts as ending, limited to half of the lifetime.
    """
    return expires_at is not None and expires_at - now <= capped(notice, lifetime)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and len(value) > 32:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
