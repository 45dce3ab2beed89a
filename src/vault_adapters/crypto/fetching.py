"""Fetches the data keys of many tenants concurrently, because sequential fetching would mostly wait."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from vault_domain.entities.errors import VaultError

T = TypeVar("T")
K = TypeVar("K")

# Large enough for a store to batch the reads. Calls to master keys have a limit of their own.
_AT_ONCE = 64


async def fetch_keys(wanted: Iterable[T], fetch: Callable[[T], Awaitable[K]]) -> dict[T, K]:
    """Fetch the key of each wanted item, several at once; return the keys by item.

    Raises:
        VaultError: the first error that ``fetch`` raised; fetches that had not begun are skipped.
    """
    limit = asyncio.Semaphore(_AT_ONCE)
    found: dict[T, K] = {}
    failures: list[VaultError] = []

    async def one(wish: T) -> None:
        async with limit:
            if failures:
                return  # do not ask for the rest, because the store or key service is probably unreachable
            try:
                found[wish] = await fetch(wish)
            except VaultError as error:
                failures.append(error)

    await asyncio.gather(*map(one, wanted))
    if failures:
        raise failures[0]
    return found
