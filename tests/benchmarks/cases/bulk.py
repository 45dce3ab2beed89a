"""Storing ten thousand tokens at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import psycopg
from tests.benchmarks.bench import Bench, Case
from tests.benchmarks.copies import UPSERT, UPSERT_MANY, copy_table
from tests.benchmarks.findings import Goal
from tests.benchmarks.floors import Connection, fetch_all, parts
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import EXPIRY, VALUE, access_keys, bench_vault

from vault_adapters import TokenKey

_ROWS_PER_STATEMENT = 1000


async def _run(bench: Bench) -> None:
    keys = sorted(access_keys(bench.amount(10_000, 300), name="bulk"), key=parts)
    async with bench_vault(bench.server.url) as vault, bench.connection() as connection:

        async def forget(table: str) -> None:
            await connection.execute(f"DELETE FROM {table} WHERE tenant_id LIKE 'bulk-%'")
            await connection.execute(f"VACUUM {table}")

        async def store() -> int:
            return len(await vault.store_tokens([(key, VALUE, EXPIRY) for key in keys]))

        await store()
        await copy_table(connection)
        ours = Contestant(f"store_tokens of {len(keys):,}", store, lambda: forget("token_vault.token"))
        rows = _rows(keys)
        unnest = Contestant(
            "bare unnest, 1,000 rows a statement", lambda: _unnest(connection, rows), lambda: forget("bare.token")
        )
        many = Contestant("bare executemany", lambda: _many(connection, rows), lambda: forget("bare.token"))
        series = await bench.race([ours, unnest, many], 9)
        await bench.rate(ours, series, "rows/s", Goal(35_000, at_least=True))
        await bench.rate(unnest, series, "rows/s")
        await bench.rate(many, series, "rows/s")
        await bench.ratio(ours, unnest, series)
        await bench.ratio(ours, many, series)


def _rows(keys: Sequence[TokenKey]) -> list[tuple[Any, ...]]:
    data_key_id, blob = os.urandom(16), os.urandom(384)
    return [(*parts(key), uuid4(), data_key_id, blob, EXPIRY) for key in keys]


async def _unnest(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
    async with connection.transaction():
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            columns = [list(column) for column in zip(*rows[start : start + _ROWS_PER_STATEMENT], strict=True)]
            await fetch_all(connection, UPSERT_MANY, columns)
    return len(rows)


async def _many(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
    async with connection.transaction():
        await psycopg.AsyncCursor(connection).executemany(UPSERT, rows)
    return len(rows)


BULK = Case(
    "bulk",
    "Store many tokens at once",
    "One call stores ten thousand new tokens of twenty tenants in one transaction. It includes validation, encryption, "
    "the check that the data keys are active, and audit events. The bare driver sends rows that were sealed "
    "beforehand, also in one transaction.",
    _run,
)
