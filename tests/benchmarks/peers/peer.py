"""What a race needs to know of a peer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from attrs import field, frozen

Place: TypeAlias = tuple[str, str, str, str]
"""Tenant, provider, kind and identifier."""


@frozen
class Peer:
    """One way to fetch a token by its key and decrypt it.

    Attributes:
        name: the name that the results show.
        get: lets a number of callers fetch a number of tokens each, and returns the total number of tokens.
        is_orm: whether it is an ORM; goals are set for ORMs only.
        block: number of gets in one timed block of a single caller.
        cached: the same as ``get``, with a cache in the process in front of the database; None: not measured.
        cached_name: the name that the results show for it.
    """

    name: str
    get: Callable[[int, int], Awaitable[int]] = field(repr=False)
    is_orm: bool = True
    block: int = 50
    cached: Callable[[int, int], Awaitable[int]] | None = field(default=None, repr=False)
    cached_name: str = ""
