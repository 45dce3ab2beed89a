"""Getting tokens that this process has read lately, with `read_cache`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import aiosqlite
from tests.benchmarks.bench import IN_A_ROW, Bench, Case, at_once
from tests.benchmarks.findings import Goal
from tests.benchmarks.floors import SELECT_VALUE, Connection, fetch_one, parts
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import PROVIDER, SCHEMA, access_keys, bench_vault, endless, fill

from vault_adapters import TokenKey, TokenVault
from vault_adapters.testing import ScriptedRefresher

_DAY = timedelta(days=1)  # so that no remembered row gets too old during a measurement
_BLOCK = 200
T = TypeVar("T")
_SELECT_FROM_SQLITE = """
SELECT blob, status, expires_at FROM token_vault_token
WHERE tenant_id = ? AND provider = ? AND kind = ? AND identifier = ?
"""


async def _run(bench: Bench) -> None:
    keys = access_keys(bench.amount(2000, 100), name="cached")
    refreshers = {PROVIDER: ScriptedRefresher()}
    async with (
        bench_vault(bench.server.url, refreshers=refreshers, read_cache=_DAY, serve_stale=timedelta(0)) as vault,
        bench.connection() as connection,
    ):
        await _warm(vault, keys)
        await _check_that_nothing_is_asked(vault, connection, keys)
        floor = _one_by_one(
            "a bare SELECT of value, status and expiry",
            lambda key: fetch_one(connection, SELECT_VALUE, parts(key)),
            keys,
        )
        ours = [(each, goal) for few in (keys[: bench.amount(200, 50)], keys) for each, goal in _ours(vault, few)]
        series = await bench.race([floor, *(each for each, _ in ours)], 100)
        for each, goal in ours:
            await bench.ratio(each, floor, series, Goal(goal))
        await _check_that_nothing_is_asked(vault, connection, keys)
    await _run_on_sqlite(bench, keys)


def _ours(vault: TokenVault, keys: list[TokenKey]) -> list[tuple[Contestant, float]]:
    accounts, which = [key.account for key in keys], f"cached, of {len(keys):,}"
    return [
        (_one_by_one(f"get_token, {which}, 1 caller", vault.get_token, keys), 0.1),
        (_one_by_one(f"ensure_access_token, {which}, 1 caller", vault.ensure_access_token, accounts), 0.1),
        (_many(f"get_token, {which}", vault.get_token, keys), 0.08),
        (_many(f"ensure_access_token, {which}", vault.ensure_access_token, accounts), 0.08),
    ]


async def _run_on_sqlite(bench: Bench, keys: list[TokenKey]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vault.db")
        async with bench_vault(f"sqlite:///{path}", read_cache=_DAY) as vault, aiosqlite.connect(path) as connection:
            await _warm(vault, keys)
            floor = _one_by_one(
                "bare execute_fetchall",
                lambda key: connection.execute_fetchall(_SELECT_FROM_SQLITE, parts(key)),
                keys,
            )
            get = _one_by_one("get_token on SQLite, cached, 1 caller", vault.get_token, keys)
            series = await bench.race([floor, get], 60)
            await bench.ratio(get, floor, series)


async def _warm(vault: TokenVault, keys: list[TokenKey]) -> None:
    await fill(vault, keys)
    await asyncio.sleep(0.5)  # time for the vault to begin watching for other processes' changes
    for key in keys:
        await vault.get_token(key)


def _one_by_one(name: str, call: Callable[[T], Awaitable[object]], keys: list[T]) -> Contestant:
    next_key = endless(keys, 5)

    async def work() -> int:
        for _ in range(_BLOCK):
            await call(next_key())
        return _BLOCK

    return Contestant(name, work)


async def _check_that_nothing_is_asked(vault: TokenVault, connection: Connection, keys: list[TokenKey]) -> None:
    """Get all tokens while `token` and `account` are locked against readers; a call to the database would fail."""
    async with connection.transaction():
        await connection.execute(f"LOCK TABLE {SCHEMA}.token, {SCHEMA}.account IN ACCESS EXCLUSIVE MODE")
        for key in keys:
            await vault.get_token(key)
            await vault.ensure_access_token(key.account)


def _many(name: str, call: Callable[[T], Awaitable[object]], keys: list[T]) -> Contestant:
    next_key = endless(keys, 5)
    return Contestant(f"{name}, 256 callers, per get", lambda: at_once(256, IN_A_ROW, lambda: call(next_key())))


CACHED = Case(
    "cached",
    "Get a token that was read lately, with `read_cache`",
    "The vault has read all tokens before, so it answers from its memory and asks the database nothing. On Postgres, "
    "this is checked: before and after the measurement, all tokens are read while the tables are locked against "
    "readers, so that a query would fail. A call includes the checks of arguments, of the row's age and of the "
    "expiry, the decryption, the creation of objects and the record of the use. On SQLite, it also includes the check "
    "whether another connection has written to the file. The bare statements are the same as in the sections that "
    "measure without `read_cache`. The callers ask for 200 or for 2,000 tokens in random order. Both numbers are "
    "measured, because the more tokens are in use, the longer the processor waits for memory.",
    _run,
)
