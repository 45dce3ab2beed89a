"""Decides which tenant's attempt begins next when attempts at a provider wait for their turn."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

_PER_FREE_TURN = 3
"""A tenant that has at least this number times the free turns takes no further turn."""


def next_member(waiting: Iterable[Hashable], taken: Mapping[Hashable, int], free: int) -> Hashable | None:
    """Return the tenant whose attempt takes the next turn, or None if no waiting attempt may begin now.

    The waiting tenants take turns one after another. So, when a tenant begins to wait, at most one attempt of each
    other tenant begins before this tenant's first attempt.

    A tenant takes no further turn while it has at least three times as many turns as are free. So one tenant has about
    three quarters of the turns at most, and several busy tenants leave room for others. A tenant with fewer than three
    turns may take the last free turn. So if a provider has three turns or fewer, one tenant can use all of them:
    keeping one of so few turns free would cost too much.

    Args:
        waiting: the tenants with waiting attempts, in the order of their turns. A tenant that begins to wait comes
            last, and so does a tenant of which an attempt has just begun.
        taken: the number of turns that each tenant has now; a tenant that is missing has none.
        free: the number of turns that nobody has.
    """
    return next((member for member in waiting if taken.get(member, 0) < _PER_FREE_TURN * free), None)
