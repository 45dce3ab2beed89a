"""Storing one token, including the check of the data key, encryption and the audit event."""

from __future__ import annotations

import os
from collections.abc import Callable
from uuid import uuid4

from tests.benchmarks.bench import Bench, Case, at_once
from tests.benchmarks.copies import GUARDED_UPSERT, UPSERT, copy_table
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
        many = _ours_at_once(vault, endless(keys, 2))
        guarded = await _guarded(connection, endless(keys, 2))
        series = await bench.race([floor, guarded, ours, many], 200)
        await bench.ratio(ours, guarded, series, Goal(1.4))
        await bench.ratio(many, guarded, series, Goal(0.45))
        await bench.ratio(ours, floor, series)


def _bare(connection: Connection, next_key: Callable[[], TokenKey]) -> Contestant:
    data_key_id, blob = os.urandom(16), os.urandom(384)

    async def work() -> int:
        for _ in range(_BLOCK):
            await fetch_one(connection, UPSERT, (*parts(next_key()), uuid4(), data_key_id, blob, EXPIRY))
        return _BLOCK

    return Contestant("a bare upsert of the same row", work)


async def _guarded(connection: Connection, next_key: Callable[[], TokenKey]) -> Contestant:
    cursor = await connection.execute("SELECT tenant_id, data_key_id FROM token_vault.data_key WHERE state = 'active'")
    data_keys, blob = dict(await cursor.fetchall()), os.urandom(384)

    async def work() -> int:
        for _ in range(_BLOCK):
            key = next_key()
            guard = (key.tenant_id, data_keys[key.tenant_id])
            row = (*guard, *parts(key), uuid4(), guard[1], blob, EXPIRY)
            assert await fetch_one(connection, GUARDED_UPSERT, row)
        return _BLOCK

    return Contestant("a bare upsert that checks the data key and appends the event", work)


def _ours(vault: TokenVault, next_key: Callable[[], TokenKey]) -> Contestant:
    async def work() -> int:
        for _ in range(_BLOCK):
            await vault.store_token(next_key(), VALUE, expires_at=EXPIRY)
        return _BLOCK

    return Contestant("store_token", work)


def _ours_at_once(vault: TokenVault, next_key: Callable[[], TokenKey]) -> Contestant:
    async def call() -> None:
        await vault.store_token(next_key(), VALUE, expires_at=EXPIRY)

    return Contestant("store_token, 64 callers, per store", lambda: at_once(64, 1, call))


STORE = Case(
    "store",
    "Store one token",
    "The bare driver upserts the same row, sealed beforehand, into a copy of the table with the same indexes. Its "
    "statement is prepared and binary, in autocommit mode. The vault also encrypts the value and, in the same "
    "transaction, locks the data key, checks that it is active, appends an audit event, and sets the time at which the "
    "account is due. A second bare upsert also locks the data key, checks it and appends the event. All "
    "statements replace existing rows. With 64 callers, *per store* is the time from the first call to the last "
    "answer, divided by the number of stores.",
    _run,
)
