"""Getting one token by its key from Postgres, with one caller and with many."""

from __future__ import annotations

from collections.abc import Callable

from tests.benchmarks.bench import IN_A_ROW, Bench, Case, at_once
from tests.benchmarks.findings import Goal
from tests.benchmarks.floors import SELECT_ROW, SELECT_VALUE, Connection, fetch_one, parts
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import access_keys, bench_vault, endless, fill

from vault_adapters import TokenKey, TokenVault

_GOALS = {1: Goal(1.35), 16: None, 64: Goal(0.2), 256: Goal(0.12)}


async def _run(bench: Bench) -> None:
    keys = access_keys(bench.amount(2000, 100))
    async with bench_vault(bench.server.url) as vault, bench.connection() as connection:
        await fill(vault, keys)
        for key in keys:  # the first read of a token that was stored learns the version of its row
            await vault.get_token(key)
        floor = _bare("a bare SELECT of value, status and expiry", SELECT_VALUE, connection, endless(keys, 1))
        whole = _bare("a bare SELECT of the whole row", SELECT_ROW, connection, endless(keys, 1))
        ours = {count: _ours(vault, count, endless(keys, 1)) for count in _GOALS}
        series = await bench.race([floor, whole, *ours.values()], 150)
        for count, contestant in ours.items():
            await bench.ratio(contestant, floor, series, _GOALS[count])
        await bench.ratio(ours[1], whole, series)


def _bare(name: str, sql: str, connection: Connection, next_key: Callable[[], TokenKey]) -> Contestant:
    async def work() -> int:
        for _ in range(100):
            await fetch_one(connection, sql, parts(next_key()))
        return 100

    return Contestant(name, work)


def _ours(vault: TokenVault, callers: int, next_key: Callable[[], TokenKey]) -> Contestant:
    each = 100 if callers == 1 else IN_A_ROW
    name = "get_token, 1 caller" if callers == 1 else f"get_token, {callers} callers, per get"
    return Contestant(name, lambda: at_once(callers, each, lambda: vault.get_token(next_key())))


GET = Case(
    "get",
    "Get one token from Postgres",
    "The bare driver runs prepared, binary SELECTs by the unique key, one after the other, on one open connection in "
    "autocommit mode, and decrypts nothing. The vault takes a connection from its pool, reads the row, checks the "
    "token's expiry, decrypts the value and records the use. With many callers, *per get* is the time from the first "
    "call to the last answer, divided by the number of gets. It is compared with the bare driver with one caller.",
    _run,
)
