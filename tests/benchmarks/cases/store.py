"""Storing one token, including the check of the data key, encryption and the audit event."""

from __future__ import annotations

import os
from collections.abc import Callable
from uuid import uuid4

from tests.benchmarks.bench import Bench, Case
from tests.benchmarks.copies import UPSERT, copy_table
from tests.benchmarks.findings import Goal
from tests.benchmarks.floors import Connection, fetch_one, parts
from tests.benchmarks.timing import Contestant
from tests.benchmarks.vaults import EXPIRY, VALUE, access_keys, bench_vault, endless, fill

from vault_adapters import TokenKey, TokenVault

_BLOCK = 50


async def _run(bench: Bench) -> None:
    keys = access_keys(bench.amount(2000, 100), name="store")
    async with bench_vault(bench.server.url) as vault, bench.connection() as connection:
        await fill(vault, keys)
        await copy_table(connection)
        floor = _bare(connection, endless(keys, 2))
        ours = _ours(vault, endless(keys, 2))
        series = await bench.race([floor, ours], 200)
        await bench.ratio(ours, floor, series, Goal(1.3))


def _bare(connection: Connection, next_key: Callable[[], TokenKey]) -> Contestant:
    data_key_id, blob = os.urandom(16), os.urandom(384)

    async def work() -> int:
        for _ in range(_BLOCK):
            await fetch_one(connection, UPSERT, (*parts(next_key()), uuid4(), data_key_id, blob, EXPIRY))
        return _BLOCK

    return Contestant("a bare upsert of the same row", work)


def _ours(vault: TokenVault, next_key: Callable[[], TokenKey]) -> Contestant:
    async def work() -> int:
        for _ in range(_BLOCK):
            await vault.store_token(next_key(), VALUE, expires_at=EXPIRY)
        return _BLOCK

    return Contestant("store_token", work)


STORE = Case(
    "store",
    "Store one token",
    "The bare driver upserts the same row, sealed beforehand, into a copy of the table with the same indexes. Its "
    "statement is prepared and binary, in autocommit mode. The vault also encrypts the value and, in the same "
    "transaction, locks the data key, checks that it is active, and appends an audit event. Both replace "
    "existing rows.",
    _run,
)
