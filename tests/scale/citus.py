"""Compares a vault on a Citus cluster with one on a plain server: `python -m tests.scale.citus --plain URL`.

The second part repeats storing a token set, a refresh, and reading two tokens while the tables grow. A request asks the
node of its tenant only, so more accounts must not make it slower.

`TOKEN_VAULT_TEST_CITUS_URL` names the cluster, as for the tests. The server should be of the same version and have the
same settings; the vaults take turns, so that a noisy machine disturbs both alike. The last line compares a query of the
bare driver for one column of one row, so it tells how much of the ratios is due to Citus alone.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from tests.benchmarks.floors import parts
from tests.benchmarks.timing import Contestant, interleave
from tests.benchmarks.vaults import EXPIRY, PROVIDER, VALUE, access_keys, bench_vault, endless, fill
from tests.contract.distributed import DistributedSchema

from vault_adapters import Account, TokenKey, TokenKind, TokenSet, TokenVault
from vault_adapters.testing import ScriptedRefresher

_SCHEMA = "peer_of_citus"
_BLOCK = 50
_WARM_UP, _CALLS = 10, 100

_Ask = Callable[[TokenKey], Awaitable[None]]
"""Asks the database for one column of one token."""

_Make = Callable[[str, Any, Callable[[], TokenKey], list[float]], Contestant]
"""Makes a contestant from its name, a vault or an `_Ask`, a source of keys, and a list for the times."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale.citus", description=__doc__)
    parser.add_argument("--plain", required=True, metavar="URL", help="a database without Citus")
    parser.add_argument("--rounds", type=int, default=60, help="rounds of each measurement; default: 60")
    parser.add_argument(
        "--accounts", type=int, nargs="*", default=[0, 20_000, 100_000, 500_000], help="the sizes of the second part"
    )
    options = parser.parse_args(arguments)
    with DistributedSchema() as distributed:
        try:
            if options.rounds:
                for line in asyncio.run(_compare(distributed, options.plain, options.rounds)):
                    print(line)
            asyncio.run(_grow(distributed, options.plain, options.accounts))
        finally:
            with psycopg.connect(options.plain, autocommit=True) as connection:
                connection.execute(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")
    return 0


async def _compare(distributed: DistributedSchema, plain: str, rounds: int) -> list[str]:
    keys = access_keys(500)
    lines = []
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(bench_vault(distributed.url, schema=distributed.name))
        theirs = await stack.enter_async_context(bench_vault(plain, schema=_SCHEMA))
        await fill(ours, keys)
        await fill(theirs, keys)
        bare = [
            await stack.enter_async_context(_bare(distributed.url, distributed.name)),
            await stack.enter_async_context(_bare(plain, _SCHEMA)),
        ]
        calls: tuple[tuple[str, _Make, Sequence[Any]], ...] = (
            ("get_token", _gets, (ours, theirs)),
            ("store_token", _stores, (ours, theirs)),
            ("a bare query", _queries, bare),
        )
        for call, make, (at_cluster, at_server) in calls:
            took: dict[str, list[float]] = {"cluster": [], "server": []}
            cluster = make("cluster", at_cluster, endless(keys, 1), took["cluster"])
            server = make("server", at_server, endless(keys, 1), took["server"])
            series = await interleave([cluster, server], rounds, warm_up=3)
            ratio, micros = series["cluster"].over(series["server"]), series["cluster"].micros()
            lines.append(
                f"{call}: {ratio.middle:.2f} ({ratio.low:.2f} - {ratio.high:.2f}) times the plain server's;"
                f" {micros.middle:,.0f} and {series['server'].micros().middle:,.0f} microseconds;"
                f" first percentiles {_first_percentile(took['cluster']):,.0f} and"
                f" {_first_percentile(took['server']):,.0f}"
            )
    return lines


async def _grow(distributed: DistributedSchema, plain: str, sizes: Sequence[int]) -> None:
    """Print how long requests take while the tables hold more and more accounts."""
    refreshers = [ScriptedRefresher(), ScriptedRefresher()]
    places = [(distributed.url, distributed.name), (plain, _SCHEMA)]
    async with AsyncExitStack() as stack:
        vaults = [
            await stack.enter_async_context(bench_vault(url, schema=schema, refreshers={PROVIDER: refresher}))
            for (url, schema), refresher in zip(places, refreshers, strict=True)
        ]
        held = 0
        for size in sizes:
            for url, schema in places:
                _add_accounts(url, schema, held, size)
            held = size
            took = await _requests(vaults, refreshers)
            for call, (cluster, server) in took.items():
                print(
                    f"{size:>7,} accounts, {call}: {_median(cluster):.2f} and {_median(server):.2f} ms;"
                    f" {_median(cluster) / _median(server):.1f} times the plain server's"
                )


def _add_accounts(url: str, schema: str, first: int, end: int) -> None:
    """Add accounts with two tokens each, ten to a tenant, by SQL, because the vault would take long to seal them."""
    token = f"""
        INSERT INTO "{schema}".token (tenant_id, provider, kind, identifier, id, value_id, data_key_id, blob, status,
            expires_at, generation, created_at, updated_at)
        SELECT 'filler-' || n / 10, '{PROVIDER}', k, 'user' || n, gen_random_uuid(), gen_random_uuid(),
            '\\x00000000000000000000000000000000', decode(repeat('00', 300), 'hex'), 'valid',
            CASE k WHEN 'access_token' THEN now() + interval '30 days' END, 1, now(), now()
        FROM generate_series(%s::bigint, %s::bigint) n, unnest(ARRAY['access_token', 'refresh_token']) k"""
    account = f"""
        INSERT INTO "{schema}".account (tenant_id, provider, identifier, due_at)
        SELECT 'filler-' || n / 10, '{PROVIDER}', 'user' || n, now() + interval '29 days'
        FROM generate_series(%s::bigint, %s::bigint) n"""
    with psycopg.connect(url, autocommit=True) as connection:
        for start in range(first, end, 50_000):
            for sql in (token, account):
                connection.execute(sql, [start, min(start + 50_000, end) - 1])
        connection.execute(f'ANALYZE "{schema}".token, "{schema}".account')


async def _requests(
    vaults: Sequence[TokenVault], refreshers: Sequence[ScriptedRefresher]
) -> dict[str, tuple[list[float], list[float]]]:
    """Return the seconds of each call, for each vault; the vaults take turns."""
    took: dict[str, tuple[list[float], list[float]]] = {
        call: ([], []) for call in ("store_token_set", "ensure_access_token with a refresh", "get_tokens of two keys")
    }
    for number in range(_WARM_UP + _CALLS):
        account = Account(f"grown-tenant-{number % 10}", PROVIDER, f"user{number}")
        for place, (vault, refresher) in enumerate(zip(vaults, refreshers, strict=True)):
            refresher.then(TokenSet(VALUE, "next", expires_in=3600))
            expired = TokenSet(VALUE, "first", expires_at=datetime.now(UTC) - timedelta(seconds=1))
            for seconds, call in zip(took.values(), _calls(vault, account, expired), strict=True):
                started = time.perf_counter()
                await call()
                if number >= _WARM_UP:
                    seconds[place].append(time.perf_counter() - started)
    return took


def _calls(vault: TokenVault, account: Account, expired: TokenSet) -> tuple[Callable[[], Awaitable[object]], ...]:
    return (
        lambda: vault.store_token_set(account, expired),
        lambda: vault.ensure_access_token(account),
        lambda: vault.get_tokens([account.key(TokenKind.ACCESS_TOKEN), account.key(TokenKind.REFRESH_TOKEN)]),
    )


def _median(seconds: Sequence[float]) -> float:
    """Return the median in milliseconds."""
    return statistics.median(seconds) * 1e3


def _first_percentile(seconds: list[float]) -> float:
    """Return the first percentile in microseconds: one call in a hundred is faster."""
    return sorted(seconds)[len(seconds) // 100] * 1e6


def _gets(name: str, vault: TokenVault, next_key: Callable[[], TokenKey], took: list[float]) -> Contestant:
    async def get() -> None:
        await vault.get_token(next_key())

    return _contestant(name, get, took)


def _stores(name: str, vault: TokenVault, next_key: Callable[[], TokenKey], took: list[float]) -> Contestant:
    async def store() -> None:
        await vault.store_token(next_key(), VALUE, expires_at=EXPIRY)

    return _contestant(name, store, took)


@asynccontextmanager
async def _bare(url: str, schema: str) -> AsyncGenerator[_Ask]:
    """Open a connection, and give a function that asks for one column of one token."""
    where = "tenant_id = %s AND provider = %s AND kind = %s AND identifier = %s"
    query = f'SELECT blob FROM "{schema}".token WHERE {where}'
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=0) as connection:

        async def ask(key: TokenKey) -> None:
            cursor = await connection.execute(query, parts(key), binary=True)
            if len(await cursor.fetchall()) != 1:
                raise RuntimeError("the token is not there")

        yield ask


def _queries(name: str, ask: _Ask, next_key: Callable[[], TokenKey], took: list[float]) -> Contestant:
    return _contestant(name, lambda: ask(next_key()), took)


def _contestant(name: str, call: Callable[[], Awaitable[None]], took: list[float]) -> Contestant:
    async def work() -> int:
        for _ in range(_BLOCK):
            started = time.perf_counter()
            await call()
            took.append(time.perf_counter() - started)
        return _BLOCK

    return Contestant(name, work)


if __name__ == "__main__":
    sys.exit(main())
