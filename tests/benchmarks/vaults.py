"""Vaults to measure, and what is in them."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from vault_adapters import TokenKey, TokenKind, TokenRefresher, TokenVault, Tuning, VaultConfig, open_vault

T = TypeVar("T")

PROVIDER = "google"
SCHEMA = "token_vault"
VALUE = "ya29." + "a0AfB_byC" * 28  # 257 bytes: what an access token of a large provider looks like
EXPIRY = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)

_SECRET = "a-secret-for-benchmarks-only-0123456789"


@asynccontextmanager
async def bench_vault(
    url: str,
    *,
    schema: str = SCHEMA,
    refreshers: Mapping[str, TokenRefresher] | None = None,
    read_cache: timedelta | None = None,
    serve_stale: timedelta = timedelta(minutes=10),
    read_cache_size: int = 10_000,
    tuning: Tuning | None = None,
) -> AsyncIterator[TokenVault]:
    """Open a vault as a host would, but with the cheapest scrypt, which runs once at the start."""
    config = VaultConfig(
        database_url=url,
        encryption_secret=_SECRET,
        scrypt_log2_n=14,
        postgres_schema=schema,
        read_cache=read_cache,
        serve_stale=serve_stale,
        read_cache_size=read_cache_size,
        tuning=tuning or Tuning(),
    )
    async with open_vault(config, refreshers=refreshers) as vault:
        yield vault


def access_keys(count: int, *, tenants: int = 20, name: str = "get") -> list[TokenKey]:
    """Return keys of access tokens, spread over tenants."""
    return [
        TokenKey(f"{name}-tenant-{number % tenants}", PROVIDER, TokenKind.ACCESS_TOKEN, f"user{number}@example.com")
        for number in range(count)
    ]


async def fill(vault: TokenVault, keys: Iterable[TokenKey]) -> None:
    """Store a token under each key."""
    items = [(key, VALUE, EXPIRY) for key in keys]
    for start in range(0, len(items), 10_000):
        await vault.store_tokens(items[start : start + 10_000])


def endless(items: Iterable[T], seed: int) -> Callable[[], T]:
    """Return a function that gives items in a shuffled order, over and over."""
    shuffled = list(items)
    random.Random(seed).shuffle(shuffled)
    return itertools.cycle(shuffled).__next__
