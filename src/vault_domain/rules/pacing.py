"""Decides when a client may send its next token request. For each client, all processes share one stored time."""

from __future__ import annotations

from datetime import datetime, timedelta

from vault_domain.entities.request_limit import RequestLimit

FREE = timedelta(0)

RATE_LIMITED = "rate_limited"
"""The reason why an attempt was not begun: the provider accepts no more requests now."""


def next_turn(free_at: datetime | None, now: datetime, limit: RequestLimit) -> tuple[datetime | None, timedelta]:
    """Return the new shared time and zero if a request may be sent now; else the old shared time and the time to wait.

    Each request moves the shared time forward by one interval, from the present if the shared time lies in the past. A
    request may be sent while the shared time is at most ``limit.burst - 1`` intervals ahead of ``now`` (the generic
    cell rate algorithm).

    Args:
        free_at: the shared time; None if no request was sent yet.
        now: the store's time.
        limit: the provider's limit.
    """
    room = (limit.burst - 1) * limit.interval
    was_set_back = free_at is not None and free_at > now + room + limit.interval
    start = now if free_at is None or was_set_back else max(free_at, now)
    wait = start - now - room
    if wait > FREE:
        return free_at, wait
    return start + limit.interval, FREE


def spaced(when: datetime, refreshed_at: datetime | None, spacing: timedelta) -> datetime:
    """Return the later of two times: ``when``, and the time at which ``spacing`` has passed since the last refresh.

    A ``refreshed_at`` later than ``when`` does not count, because the clock was set back after that refresh.
    """
    return when if refreshed_at is None or refreshed_at > when else max(when, refreshed_at + spacing)
