"""Reserving due accounts for a sweep (`reserve_due`). The claim of each account's lease is not measured."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from tests.benchmarks.bench import Bench, Case
from tests.benchmarks.findings import Goal
from tests.benchmarks.floors import Connection, fetch_all
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import PROVIDER

from vault_adapters.stores.postgres.store import open_postgres_store
from vault_domain.ports.accounts import Accounts

_SCHEMA = "claims"
_BATCH = 50
_TAKEN = 10_000
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_HOLD = timedelta(minutes=30)  # so that no account is due again during a measurement

_QUEUE = """
DROP SCHEMA IF EXISTS queue CASCADE;
CREATE SCHEMA queue;
CREATE TABLE queue.due (
    tenant_id text COLLATE "C" NOT NULL, provider text COLLATE "C" NOT NULL, identifier text COLLATE "C" NOT NULL,
    due_at timestamptz NOT NULL, attempt_id uuid, PRIMARY KEY (tenant_id, provider, identifier)
) WITH (fillfactor = 70);
CREATE INDEX ON queue.due (due_at);
"""

_CLAIM_FROM_QUEUE = """
WITH picked AS (
    SELECT tenant_id, provider, identifier, due_at FROM queue.due
    WHERE due_at >= %b::timestamptz AND due_at <= statement_timestamp()
    ORDER BY due_at FOR UPDATE SKIP LOCKED LIMIT %b::bigint)
UPDATE queue.due d SET due_at = statement_timestamp() + interval '30 minutes', attempt_id = gen_random_uuid()
FROM picked p WHERE d.tenant_id = p.tenant_id AND d.provider = p.provider AND d.identifier = p.identifier
RETURNING d.tenant_id, d.provider, d.identifier, d.attempt_id, p.due_at
"""

_ROWS = """
SELECT 'tenant-' || n % 1000, '{provider}', 'user' || n || '@example.com',
    statement_timestamp() - interval '1 day' + n * interval '10 milliseconds'
FROM generate_series(1, {count}) n
"""

_Batch = Callable[[datetime | None], Awaitable[tuple[int, datetime | None]]]


async def _run(bench: Bench) -> None:
    for due, small in ((10_000, 200), (1_000_000, 2000)):
        await _race(bench, bench.amount(due, small))


async def _race(bench: Bench, due: int) -> None:
    async with AsyncExitStack() as stack:
        stores = {
            workers: await stack.enter_async_context(
                open_postgres_store(bench.server.url, migrate=True, schema=_SCHEMA, pool_size=workers)
            )
            for workers in (1, 4, 8)
        }
        connection = await stack.enter_async_context(bench.connection())
        await _fill(connection, due)
        taken = min(due, _TAKEN)

        def our_batches(accounts: Accounts) -> _Batch:
            async def batch(since: datetime | None) -> tuple[int, datetime | None]:
                found, _ = await accounts.reserve_due(PROVIDER, hold=_HOLD, limit=_BATCH, since=since, until=None)
                return len(found), found[-1].due_at if found else None

            return batch

        async def queue_batch(since: datetime | None) -> tuple[int, datetime | None]:
            rows = await fetch_all(connection, _CLAIM_FROM_QUEUE, (since or _LONG_AGO, _BATCH))
            return len(rows), max((row[-1] for row in rows), default=None)

        def contest(name: str, batch: _Batch, workers: int, table: str) -> Contestant:
            return Contestant(name, lambda: _take(batch, workers, taken), lambda: _give_back(connection, table))

        name = f"of {due:,} due"
        queue = contest(f"a bare queue: SKIP LOCKED on one narrow table, {name}", queue_batch, 1, "queue.due")
        ours = {
            n: contest(f"{_name(n)}, {name}", our_batches(store.accounts), n, f"{_SCHEMA}.account")
            for n, store in stores.items()
        }
        series = await bench.race([queue, *ours.values()], 5)
        await bench.ratio(ours[1], queue, series, Goal(1.5))
        for contestant in (queue, *ours.values()):
            await bench.rate(contestant, series, "accounts/s")
        await connection.execute(f"DROP SCHEMA {_SCHEMA} CASCADE")


async def _take(batch: _Batch, workers: int, most: int) -> int:
    """Take accounts; each batch of a worker begins where its last batch ended."""
    total = 0

    async def work() -> None:
        nonlocal total
        since = None
        while total < most:
            count, since = await batch(since)
            if not count:
                return
            total += count

    await asyncio.gather(*(work() for _ in range(workers)))
    if total < most:
        raise RuntimeError(f"only {total} of {most} accounts were taken")
    return total


async def _give_back(connection: Connection, table: str) -> None:
    """Make taken accounts due again, in their old order."""
    await connection.execute(
        f"UPDATE {table} SET due_at = statement_timestamp() - interval '1 day'"
        " + substring(identifier FROM 5 FOR position('@' IN identifier) - 5)::bigint * interval '10 milliseconds'"
        " WHERE due_at > statement_timestamp()"
    )
    await connection.execute(f"VACUUM {table}")


async def _fill(connection: Connection, due: int) -> None:
    rows = _ROWS.format(provider=PROVIDER, count=due)
    for statement in _QUEUE.split(";\n"):
        if statement.strip():
            await connection.execute(statement)
    for table in (f"{_SCHEMA}.account", "queue.due"):
        await connection.execute(f"INSERT INTO {table} (tenant_id, provider, identifier, due_at) {rows}")
        await connection.execute(f"VACUUM ANALYZE {table}")


def _name(workers: int) -> str:
    return "reserve_due, 1 worker" if workers == 1 else f"reserve_due, {workers} workers"


CLAIM = Case(
    "claim",
    "Take accounts that are due",
    f"As in a sweep, accounts are taken {_BATCH} at a time, and each batch begins where the last one ended. Ten "
    "thousand accounts are taken, once while ten thousand are due and once while a million are due. The floor is a "
    "bare job queue: one narrow table, and the bare driver on one open connection. The later steps of a sweep (read, "
    "decide, claim, ask the provider, commit) are not measured. All workers run in one process, each with its own "
    "connection.",
    _run,
)
