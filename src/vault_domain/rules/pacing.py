"""Decides when a client may send its next token request. For each client, all processes share one stored time."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from attrs import frozen

from vault_domain.entities.request_limit import RequestLimit

FREE = timedelta(0)

RATE_LIMITED = "rate_limited"
"""The reason why an attempt was not begun: the provider accepts no more requests now."""


LONGEST_WAIT = timedelta(seconds=10)
"""Longest wait for a turn. A caller that cannot use the stored token gets an error instead of a longer wait."""

MOST_RESERVED = 64
"""Largest number of turns that are reserved at the same time."""

MARK_SIZE = 4

_DOMAIN = b"token-vault turn of a tenant v1"
_LEAST_LAPSE, _LONGEST_LAPSE = timedelta(seconds=0.2), timedelta(seconds=5)


@frozen
class Turns:
    """The turns of one client.

    Attributes:
        free_at: the shared time; None if no request was sent yet.
        reserved: the tenants that have reserved a turn, as `mark_of_tenant` names them, each with the turn's time.
    """

    free_at: datetime | None = None
    reserved: tuple[tuple[bytes, datetime], ...] = ()


def mark_of_tenant(tenant_id: str) -> bytes:
    """Return four bytes that stand for a tenant: enough to distinguish a few, too few to identify one."""
    return hashlib.sha256(_DOMAIN + tenant_id.encode()).digest()[:MARK_SIZE]


def next_turn(
    turns: Turns, tenant: bytes, now: datetime, limit: RequestLimit, ahead: timedelta = FREE
) -> tuple[Turns, timedelta]:
    """Take a turn, or with ``ahead`` reserve one; return the turns afterwards, and the time to wait.

    Each turn moves the shared time forward by one interval, from the present if the shared time lies in the past. A
    request may be sent while the shared time is at most ``limit.burst - 1`` intervals ahead of ``now`` (the generic
    cell rate algorithm).

    A tenant reserves at most one turn at a time, so that the tenants that wait take turns one after another, however
    many accounts each of them has. A reserved turn that is not taken in time is lost.

    Args:
        turns: the turns so far.
        tenant: the tenant of the account, as `mark_of_tenant` names it.
        now: the store's time.
        limit: the provider's limit.
        ahead: zero: take a turn now, which is the tenant's reserved turn if its time has come; if no turn is free, the
            turns stay as they are. More: reserve a turn for the tenant that comes within this time, unless it has one;
            it is taken by a later call.
    """
    free_at, kept = turns.free_at, _kept(turns, now, limit)
    own = next((at for mark, at in kept if mark == tenant), None)
    if own is not None and (ahead > FREE or own > now):
        return turns, max(own - now, FREE)
    if own is not None:
        return Turns(free_at, tuple(each for each in kept if each[0] != tenant)), FREE
    room = (limit.burst - 1) * limit.interval
    was_set_back = free_at is not None and free_at > now + room + limit.interval + LONGEST_WAIT
    start = now if free_at is None or was_set_back else max(free_at, now)
    wait = max(start - now - room, FREE)
    taken = start + limit.interval
    if ahead > FREE and wait <= ahead and len(kept) < MOST_RESERVED:
        return Turns(taken, (*kept, (tenant, now + wait))), wait
    return (turns, wait) if wait > FREE or ahead > FREE else (Turns(taken, kept), FREE)


def _kept(turns: Turns, now: datetime, limit: RequestLimit) -> tuple[tuple[bytes, datetime], ...]:
    """Return the reserved turns that may still be taken, without those that were reserved before a clock was set back.

    A turn that is taken late brings its request nearer to the later ones. So it lapses within the margin of the limit.
    """
    lapse = min(max(limit.per / 20, _LEAST_LAPSE), _LONGEST_LAPSE)
    return tuple(each for each in turns.reserved if now - lapse <= each[1] <= now + LONGEST_WAIT)


def spaced(when: datetime, refreshed_at: datetime | None, spacing: timedelta) -> datetime:
    """Return the later of two times: ``when``, and the time at which ``spacing`` has passed since the last refresh.

    A ``refreshed_at`` later than ``when`` does not count, because the clock was set back after that refresh.
    """
    return when if refreshed_at is None or refreshed_at > when else max(when, refreshed_at + spacing)
