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
        name: what a reader calls it.
        get: lets a number of callers fetch a number of tokens each, and returns how many that were.
        is_orm: whether it is an ORM; goals are set for ORMs only.
        block: how many gets a block of one caller has.
    """

    name: str
    get: Callable[[int, int], Awaitable[int]] = field(repr=False)
    is_orm: bool = True
    block: int = 50
