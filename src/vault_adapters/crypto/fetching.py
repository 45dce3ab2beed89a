"""Fetching the keys of many tenants: one after the other, waiting would be most of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from vault_domain.entities.errors import VaultError

T = TypeVar("T")
K = TypeVar("K")

# So many that a store has something to put together; master keys have a limit of their own.
_AT_ONCE = 64


async def fetch_keys(wanted: Iterable[T], fetch: Callable[[T], Awaitable[K]]) -> dict[T, K]:
    """Fetch keys, several at once.

    Raises:
        VaultError: the first that ``fetch`` raised; what had not begun by then is not asked for.
    """
    limit = asyncio.Semaphore(_AT_ONCE)
    found: dict[T, K] = {}
    failures: list[VaultError] = []

    async def one(wish: T) -> None:
        async with limit:
            if failures:
                return  # whoever holds the keys is away: asking for the rest helps nobody
            try:
                found[wish] = await fetch(wish)
            except VaultError as error:
                failures.append(error)

    await asyncio.gather(*map(one, wanted))
    if failures:
        raise failures[0]
    return found
