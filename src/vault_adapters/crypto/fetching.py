"""Fetching the keys of many tenants: one after the other, waiting would be most of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from vault_adapters.crypto.envelope import EnvelopeKey
from vault_domain.errors import KeyUnavailableError, VaultError
from vault_domain.ports.cipher import UnreadableError

T = TypeVar("T")

# So many that a store has something to put together; master keys have a limit of their own.
_AT_ONCE = 64


async def fetch_keys(wanted: Iterable[T], fetch: Callable[[T], Awaitable[EnvelopeKey]]) -> dict[T, EnvelopeKey | str]:
    """Fetch keys, several at once; a text stands for one that cannot be had.

    Raises:
        KeyUnavailableError: one cannot be had now, but perhaps later.
    """
    limit = asyncio.Semaphore(_AT_ONCE)
    found: dict[T, EnvelopeKey | str] = {}
    failures: list[VaultError] = []

    async def one(wish: T) -> None:
        async with limit:
            if failures:
                return  # whoever holds the keys is away: asking for the rest helps nobody
            try:
                found[wish] = await fetch(wish)
            except UnreadableError as error:
                found[wish] = error.reason
            except VaultError as error:
                if isinstance(error, KeyUnavailableError) and not error.retryable:
                    found[wish] = error.reason or error.code
                else:
                    failures.append(error)

    await asyncio.gather(*map(one, wanted))
    if failures:
        raise failures[0]
    return found
