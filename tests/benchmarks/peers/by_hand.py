"""Hand-written peers over psycopg's pool: AESGCM with one key, and the original scheme with scrypt for each value."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg_pool import AsyncConnectionPool
from tests.benchmarks.bench import at_once
from tests.benchmarks.floors import fetch_one
from tests.benchmarks.peers.peer import Peer, Place
from tests.benchmarks.vaults import EXPIRY, VALUE

from vault_adapters import Secret
from vault_adapters.crypto.legacy import read_original

Pool = AsyncConnectionPool[Any]

_TABLE = """
CREATE TABLE {table} (
    tenant text NOT NULL, provider text NOT NULL, kind text NOT NULL, identifier text NOT NULL,
    status text NOT NULL, expires_at timestamptz, value {type} NOT NULL,
    PRIMARY KEY (tenant, provider, kind, identifier))
"""
_SELECT = """
SELECT value, status, expires_at FROM {table}
WHERE tenant = %b AND provider = %b AND kind = %b AND identifier = %b
"""
_SECRET = "a-secret-for-benchmarks-only-0123456789"


@asynccontextmanager
async def aesgcm_peer(url: str, places: Sequence[Place], next_place: Callable[[], Place]) -> AsyncIterator[Peer]:
    """Give the simplest peer that encrypts: one key for everything, no context."""
    cipher, nonce = AESGCM(os.urandom(32)), os.urandom(12)
    async with _filled_pool(
        url, "by_hand", "bytea", nonce + cipher.encrypt(nonce, VALUE.encode(), None), places
    ) as pool:

        async def get() -> None:
            blob = await _fetch(pool, "by_hand", next_place())
            if cipher.decrypt(blob[:12], blob[12:], None).decode() != VALUE:
                raise RuntimeError("not the value that was stored")

        yield Peer("by hand: psycopg's pool, AESGCM, one key", lambda n, each: at_once(n, each, get), is_orm=False)


@asynccontextmanager
async def original_peer(url: str, places: Sequence[Place], next_place: Callable[[], Place]) -> AsyncIterator[Peer]:
    """Give the original scheme, which runs scrypt for each value."""
    async with _filled_pool(url, "original", "text", _seal_as_original(), places) as pool:

        async def get() -> None:
            text = await _fetch(pool, "original", next_place())
            secret = await asyncio.to_thread(read_original, text, Secret(_SECRET))
            if secret is None or secret.reveal() != VALUE:
                raise RuntimeError("not the value that was stored")

        name = "the original scheme: scrypt for each value"
        yield Peer(name, lambda callers, each: at_once(callers, 1, get), is_orm=False, block=1)


async def _fetch(pool: Pool, table: str, place: Place) -> Any:
    async with pool.connection() as connection:
        row = await fetch_one(connection, _SELECT.format(table=table), place)
    if row is None:
        raise RuntimeError("the token is not there")
    return row[0]


@asynccontextmanager
async def _filled_pool(
    url: str, table: str, column_type: str, value: bytes | str, places: Sequence[Place]
) -> AsyncIterator[Pool]:
    async with AsyncConnectionPool(url, kwargs={"autocommit": True}, min_size=10, max_size=10, open=False) as pool:
        async with pool.connection() as connection:
            await connection.execute(_TABLE.format(table=table, type=column_type))
            cursor = psycopg.AsyncCursor(connection)
            await cursor.executemany(
                f"INSERT INTO {table} VALUES (%s, %s, %s, %s, 'valid', %s, %s)",
                [(*place, EXPIRY, value) for place in places],
            )
        yield pool


def _seal_as_original() -> str:
    salt, nonce = os.urandom(16), os.urandom(12)
    key = hashlib.scrypt(_SECRET.encode(), salt=salt, n=16384, r=8, p=1, maxmem=132 * 16384 * 8, dklen=32)
    sealed = AESGCM(key).encrypt(nonce, VALUE.encode(), None)
    return base64.b64encode(salt + nonce + sealed[-16:] + sealed[:-16]).decode()
