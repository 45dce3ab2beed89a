"""Decides which tenant's attempt begins next when attempts at a provider wait for their turn."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

_PER_FREE_TURN = 3
"""Turns that a tenant may have for each turn that is free."""


def next_member(waiting: Iterable[Hashable], taken: Mapping[Hashable, int], free: int) -> Hashable | None:
    """Return the tenant whose attempt takes the next turn, or None if no waiting attempt may begin now.

    The tenants that wait come one after another, so at most one attempt of each other tenant goes before the first
    attempt of a tenant that begins to wait. A tenant takes no further turn while it has three times as many as are
    free. So one tenant has about three quarters of the turns at most, and several busy tenants leave room for others.
    The last free turn is for tenants with less than three turns. So a single tenant uses all of three turns, because a
    limit that small would lose too much by a turn that is kept free.

    Args:
        waiting: the tenants with waiting attempts; a tenant begins to wait at the end, and goes there again whenever an
            attempt of it begins.
        taken: the number of turns that each tenant has now; a tenant that is missing has none.
        free: the number of turns that nobody has.
    """
    return next((member for member in waiting if taken.get(member, 0) < _PER_FREE_TURN * free), None)
