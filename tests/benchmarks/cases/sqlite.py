"""Getting one token by its key from SQLite."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import aiosqlite
from tests.benchmarks.bench import IN_A_ROW, Bench, Case, at_once
from tests.benchmarks.findings import Goal
from tests.benchmarks.floors import parts
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import access_keys, bench_vault, endless, fill

from vault_adapters import TokenKey, TokenVault

_SELECT = """
SELECT blob, status, expires_at FROM token_vault_token
WHERE tenant_id = ? AND provider = ? AND kind = ? AND identifier = ?
"""


async def _run(bench: Bench) -> None:
    keys = access_keys(bench.amount(2000, 100))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vault.db")
        async with bench_vault(f"sqlite:///{path}") as vault:
            await fill(vault, keys)
            async with aiosqlite.connect(path) as connection:
                floor = _bare(connection, endless(keys, 3))
                alone, many = _ours(vault, 1, endless(keys, 3)), _ours(vault, 64, endless(keys, 3))
                series = await bench.race([floor, alone, many], 150)
                await bench.ratio(alone, floor, series, Goal(1.5))
                await bench.ratio(many, floor, series)


def _bare(connection: aiosqlite.Connection, next_key: Callable[[], TokenKey]) -> Contestant:
    async def work() -> int:
        for _ in range(100):
            await connection.execute_fetchall(_SELECT, parts(next_key()))
        return 100

    return Contestant("bare execute_fetchall", work)


def _ours(vault: TokenVault, callers: int, next_key: Callable[[], TokenKey]) -> Contestant:
    each = 100 if callers == 1 else IN_A_ROW
    name = "get_token on SQLite, 1 caller" if callers == 1 else f"get_token on SQLite, {callers} callers, per get"
    return Contestant(name, lambda: at_once(callers, each, lambda: vault.get_token(next_key())))


SQLITE = Case(
    "sqlite",
    "Get one token from SQLite",
    "The floor is one caller of aiosqlite's `execute_fetchall`, which gets value, status and expiry in one thread hop. "
    "The vault asks, in one thread hop too, whether the file has changed since the process read the row.",
    _run,
)
