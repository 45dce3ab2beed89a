"""Loads millions of tokens, and measures calls at several sizes on the way: `python -m tests.scale --tokens 200000`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence

import psycopg
from tests.benchmarks.floors import Connection
from tests.benchmarks.timing import interleave
from tests.benchmarks.vaults import SCHEMA, access_keys, bench_vault, fill
from tests.scale.calls import FLOOR, contestants
from tests.scale.load import TOKENS_OF_AN_ACCOUNT, load, prepare, sizes
from tests.scale.table import Measured, render
from tests.support.postgres import start_postgres

from vault_adapters import TokenKey
from vault_adapters.stores.postgres.store import open_postgres_store

SMALLEST = 10_000
_ROUNDS = 15
_WARM_UP = 12  # the server plans a statement anew for the first five calls of a connection


def main(arguments: Sequence[str] | None = None) -> int:
    """Load, measure and print the table; always return 0, because a noisy machine can spoil any measurement."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--tokens", type=int, default=2_000_000, help="number of tokens to load; default: 2 million")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"rounds of each measurement; default: {_ROUNDS}")
    parser.add_argument(
        "--url",
        help="an empty database to use and to keep; a later run continues its load. Default: a server of its own, "
        "which is removed at the end",
    )
    options = parser.parse_args(arguments)
    start = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - start:5.0f} s] {line}", flush=True)

    if options.url is not None:
        print(asyncio.run(grow(options.url, options.tokens, options.rounds, say)))
        return 0
    with start_postgres(private=True) as server:
        print(asyncio.run(grow(server.url, options.tokens, options.rounds, say)))
    return 0


async def grow(url: str, tokens: int, rounds: int, say: Callable[[str], None]) -> str:
    """Load up to this number of tokens, measure at each power of ten and at the end, and return the table."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        keys = access_keys(500, name="scale")
        async with bench_vault(url) as vault:
            accounts = await prepare(connection)
            await fill(vault, keys)
        loads = []
        for step in steps(tokens):
            if accounts * TOKENS_OF_AN_ACCOUNT > step:
                continue  # an earlier run has measured this size
            accounts = await load(connection, accounts, step // TOKENS_OF_AN_ACCOUNT, say)
            loads.append(os.getloadavg()[0] / (os.cpu_count() or 1))
            for found in await _measure(url, step, keys, rounds):
                await _keep(connection, found)
            say(f"measured at {step:,} tokens")
        everything, alone = await sizes(connection)
        held = max(accounts * TOKENS_OF_AN_ACCOUNT, 1)
        size = (
            f"A token takes {everything / held:,.0f} bytes with its indexes. This includes half of its account's row"
            f" and audit event, because two tokens share them. {alone / held:,.0f} of the bytes are in the token table."
        )
        busy = max(loads, default=0)
        load_of_machine = f"The machine's load was {busy:.1f} for each of its cores, with the work of this run."
        return "\n".join([render(await _kept(connection)), "", size, load_of_machine])


async def _measure(url: str, tokens: int, keys: Sequence[TokenKey], rounds: int) -> list[Measured]:
    """Measure all calls at one size, over new connections, so that the server plans each statement for this size."""
    async with (
        bench_vault(url) as vault,
        open_postgres_store(url, migrate=False, schema=SCHEMA) as store,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
    ):
        calls = contestants(vault, store, connection, keys)
        series = await interleave(calls, rounds, warm_up=_WARM_UP)
    return [
        Measured(
            tokens, call.name, series[call.name].over(series[FLOOR]).middle, series[call.name].micros().middle / 1000
        )
        for call in calls
    ]


def steps(tokens: int) -> list[int]:
    """Return the sizes to measure at: powers of ten, and the last size."""
    found = []
    size = SMALLEST
    while size < tokens:
        found.append(size)
        size *= 10
    return [*found, tokens]


async def _keep(connection: Connection, measured: Measured) -> None:
    await connection.execute(
        "INSERT INTO scale.measured (tokens, call, ratio, millis) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (tokens, call) DO UPDATE SET ratio = excluded.ratio, millis = excluded.millis",
        (measured.tokens, measured.call, measured.ratio, measured.millis),
    )


async def _kept(connection: Connection) -> list[Measured]:
    cursor = await connection.execute("SELECT tokens, call, ratio, millis FROM scale.measured ORDER BY tokens, added")
    return [Measured(*row) for row in await cursor.fetchall()]


if __name__ == "__main__":
    sys.exit(main())
