"""Claiming accounts that are due for a refresh."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tests.benchmarks.bench import Bench, Case
from tests.benchmarks.findings import Goal
from tests.benchmarks.floors import Connection, fetch_all, parts
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import PROVIDER, VALUE, access_keys, bench_vault

from vault_adapters import Rotation, TokenKind, TokenVault
from vault_adapters.stores.postgres.refreshes import PostgresRefreshLedger
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.stores.queries import load_queries
from vault_domain.rules.refresh import RefreshRule, RefreshTiming

_SCHEMA = "claims"
_BATCH = 50
_HORIZON = timedelta(minutes=10)
_TIMING = RefreshTiming(deadline=timedelta(minutes=5))  # no lease may end while a slow machine claims
_RULES = {PROVIDER: RefreshRule.of(TokenKind.REFRESH_TOKEN, Rotation.non_rotating(), _TIMING)}

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
    SELECT tenant_id, provider, identifier FROM queue.due WHERE due_at <= statement_timestamp()
    ORDER BY due_at FOR UPDATE SKIP LOCKED LIMIT %b::bigint)
UPDATE queue.due d SET due_at = statement_timestamp() + interval '5 minutes', attempt_id = gen_random_uuid()
FROM picked p WHERE d.tenant_id = p.tenant_id AND d.provider = p.provider AND d.identifier = p.identifier
RETURNING d.tenant_id, d.provider, d.identifier, d.attempt_id
"""


class _Captured(Exception):  # noqa: N818  # no error: it carries what was to be run
    def __init__(self, sql: str, parameters: Mapping[str, Any]) -> None:
        super().__init__(sql)
        self.sql, self.parameters = sql, parameters


class _Capture:
    """Stands in for the database, to learn the statement that the ledger would run."""

    def now(self) -> None:
        """Give no time: the database's own counts."""

    async def write(self, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        raise _Captured(sql, parameters)


async def _statement(after: datetime | None = None) -> tuple[str, dict[str, Any]]:
    queries = load_queries("vault_adapters.stores.postgres", schema=_SCHEMA)
    ledger = PostgresRefreshLedger(_Capture(), queries)  # type: ignore[arg-type]
    try:
        await ledger.claim_due(_RULES, horizon=_HORIZON, limit=_BATCH, after=after)
    except _Captured as captured:
        return captured.sql, dict(captured.parameters)
    raise AssertionError("claim_due ran no statement")


async def _run(bench: Bench) -> None:
    accounts = bench.amount(10_000, 200)
    async with AsyncExitStack() as stack:
        vault = await stack.enter_async_context(bench_vault(bench.server.url, schema=_SCHEMA))
        store = await stack.enter_async_context(
            open_postgres_store(bench.server.url, migrate=True, schema=_SCHEMA, pool_size=10)
        )
        connection = await stack.enter_async_context(bench.connection())
        await _fill(vault, connection, accounts)
        sql, parameters = await _statement()

        async def bare_batch(after: datetime | None) -> tuple[int, datetime | None]:
            sent = parameters if after is None else parameters | {"after": after}
            rows = await fetch_all(connection, sql, sent)
            claimed = [row for row in rows if row[1] is not None]
            return len(claimed), claimed[-1][6] if claimed else None

        async def our_batch(after: datetime | None) -> tuple[int, datetime | None]:
            claimed = await store.refreshes.claim_due(_RULES, horizon=_HORIZON, limit=_BATCH, after=after)
            return len(claimed), claimed[-1][1] if claimed else None

        async def queue_batch(_: datetime | None) -> tuple[int, datetime | None]:
            return len(await fetch_all(connection, _CLAIM_FROM_QUEUE, (_BATCH,))), None

        async def release() -> None:
            await connection.execute(f"UPDATE {_SCHEMA}.account SET lease_until = NULL, unknown_since = NULL")
            await connection.execute(f"VACUUM {_SCHEMA}.account")

        async def requeue() -> None:
            await connection.execute("UPDATE queue.due SET due_at = statement_timestamp() - interval '1 minute'")
            await connection.execute("VACUUM queue.due")

        def contest(name: str, batch: _Batch, workers: int, prepare: Callable[[], Awaitable[None]]) -> Contestant:
            return Contestant(name, lambda: _sweep(batch, workers, accounts), prepare)

        bare = contest("the same statement by the bare driver", bare_batch, 1, release)
        queue = contest("a bare queue: SKIP LOCKED on one narrow table", queue_batch, 1, requeue)
        ours = {n: contest(_name(n), our_batch, n, release) for n in (1, 4, 8)}
        series = await bench.race([bare, queue, *ours.values()], 5)
        await bench.ratio(ours[1], bare, series, Goal(1.3))
        await bench.ratio(ours[1], queue, series)
        for contestant in (queue, bare, *ours.values()):
            await bench.rate(contestant, series, "claims/s")
        await connection.execute(f"DROP SCHEMA {_SCHEMA} CASCADE")


_Batch = Callable[[datetime | None], Awaitable[tuple[int, datetime | None]]]


async def _sweep(batch: _Batch, workers: int, accounts: int) -> int:
    """Claim all that is due, each worker from where its last batch ended; nothing may be claimed twice."""

    async def work() -> int:
        total, after = 0, None
        while True:
            claimed, after = await batch(after)
            if not claimed:
                return total
            total += claimed

    total = sum(await asyncio.gather(*(work() for _ in range(workers))))
    if total != accounts:
        raise RuntimeError(f"{total} claims of {accounts} accounts")
    return total


async def _fill(vault: TokenVault, connection: Connection, accounts: int) -> None:
    keys = access_keys(accounts, name="claim")
    soon = datetime.now(UTC) + timedelta(minutes=1)
    await vault.store_tokens(
        [(key, VALUE, soon + timedelta(milliseconds=number * 10)) for number, key in enumerate(keys)]
    )
    await vault.store_tokens([(key.account.key(TokenKind.REFRESH_TOKEN), VALUE) for key in keys])
    await connection.execute(
        f"INSERT INTO {_SCHEMA}.account (tenant_id, provider, identifier, attempt_id)"
        f" SELECT tenant_id, provider, identifier, gen_random_uuid() FROM {_SCHEMA}.token WHERE kind = 'access_token'"
    )
    await connection.execute(f"VACUUM ANALYZE {_SCHEMA}.token")
    await connection.execute(f"VACUUM ANALYZE {_SCHEMA}.account")
    for statement in _QUEUE.split(";\n"):
        if statement.strip():
            await connection.execute(statement)
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO queue.due VALUES (%s, %s, %s, now(), %s)",
            [(key.tenant_id, key.provider, parts(key)[3], uuid4()) for key in keys],
        )
    await connection.execute("VACUUM ANALYZE queue.due")


def _name(workers: int) -> str:
    return "claim_due, 1 worker" if workers == 1 else f"claim_due, {workers} workers"


CLAIM = Case(
    "claim",
    "Claim accounts that are due",
    f"All due accounts are claimed, {_BATCH} at a time, each batch starting where the last one ended, as a sweep "
    "does. The floor is the very statement, run by the bare driver on a connection that it holds. Beside it "
    "stands what a bare job queue would do: one narrow table, without a look at the token, its credential, its "
    "provider's policy or what is known of earlier attempts. Workers share one process and its pool.",
    _run,
)
