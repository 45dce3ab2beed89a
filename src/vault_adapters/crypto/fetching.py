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
# Answers of a key service that are about this wrap, however they are typed: other tenants' keys may open.
_OF_ONE_KEY = frozenset({"kms_wrong_key"})


async def fetch_keys(
    wanted: Iterable[T], fetch: Callable[[T], Awaitable[EnvelopeKey]]
) -> dict[T, EnvelopeKey | UnreadableError]:
    """Fetch keys, several at once; an error stands for one that cannot be had, however often one asks.

    Raises:
        KeyUnavailableError: one cannot be had now, but perhaps later.
    """
    limit = asyncio.Semaphore(_AT_ONCE)
    found: dict[T, EnvelopeKey | UnreadableError] = {}
    failures: list[VaultError] = []

    async def one(wish: T) -> None:
        async with limit:
            if failures:
                return  # whoever holds the keys is away: asking for the rest helps nobody
            try:
                found[wish] = await fetch(wish)
            except UnreadableError as error:
                found[wish] = error
            except VaultError as error:
                if (isinstance(error, KeyUnavailableError) and not error.retryable) or error.reason in _OF_ONE_KEY:
                    found[wish] = UnreadableError(error.reason or error.code)
                else:
                    failures.append(error)

    await asyncio.gather(*map(one, wanted))
    if failures:
        raise failures[0]
    return found
