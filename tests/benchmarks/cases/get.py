"""Getting one token by its key from Postgres, with one caller and with many."""

from __future__ import annotations

from collections.abc import Callable

from tests.benchmarks.bench import IN_A_ROW, Bench, Case, at_once
from tests.benchmarks.findings import Goal
from tests.benchmarks.floors import SELECT_ROW, SELECT_VALUE, Connection, fetch_one, parts
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import access_keys, bench_vault, endless, fill

from vault_adapters import TokenKey, TokenVault

_GOALS = {1: Goal(1.15), 16: None, 64: Goal(0.15), 256: Goal(0.12)}


async def _run(bench: Bench) -> None:
    keys = access_keys(bench.amount(2000, 100))
    url = bench.server.url
    async with bench_vault(url) as vault, bench_vault(url, read_cache_size=1) as forgetful, bench.connection() as bare:
        await fill(vault, keys)
        for key in keys:  # the vault remembers a row when it was read
            await vault.get_token(key)
        floor = _bare("a bare SELECT of value, status and expiry", SELECT_VALUE, bare, endless(keys, 1))
        whole = _bare("a bare SELECT of the whole row", SELECT_ROW, bare, endless(keys, 1))
        ours = {count: _ours(vault, "get_token", count, endless(keys, 1)) for count in _GOALS}
        unknown = [_ours(forgetful, "get_token, not remembered", count, endless(keys, 1)) for count in (1, 64)]
        series = await bench.race([floor, whole, *ours.values(), *unknown], 150)
        for count, contestant in ours.items():
            await bench.ratio(contestant, floor, series, _GOALS[count])
        for contestant in unknown:
            await bench.ratio(contestant, floor, series)
        await bench.ratio(ours[1], whole, series)


def _bare(name: str, sql: str, connection: Connection, next_key: Callable[[], TokenKey]) -> Contestant:
    async def work() -> int:
        for _ in range(100):
            await fetch_one(connection, sql, parts(next_key()))
        return 100

    return Contestant(name, work)


def _ours(vault: TokenVault, what: str, callers: int, next_key: Callable[[], TokenKey]) -> Contestant:
    each = 100 if callers == 1 else IN_A_ROW
    name = f"{what}, 1 caller" if callers == 1 else f"{what}, {callers} callers, per get"
    return Contestant(name, lambda: at_once(callers, each, lambda: vault.get_token(next_key())))


GET = Case(
    "get",
    "Get one token from Postgres",
    "The bare driver runs prepared, binary SELECTs by the unique key, one after the other, on one open connection in "
    "autocommit mode, and decrypts nothing. The vault takes a connection, asks whether the row is still "
    "the one that the process remembers, checks the token's expiry, decrypts the value and records the use. For a "
    "token that the process does not remember, it reads the whole row. With many callers, each calls sixteen times in "
    "a row, and *per get* is the time from the first call to the last answer, divided by the number of gets. It is "
    "compared with the bare driver with one caller.",
    _run,
)
