"""Several processes add and remove customers at once, beside refreshes; some roll back, and some are killed."""

import asyncio
import random
import sqlite3
from contextlib import suppress
from datetime import timedelta

import aiosqlite
import psycopg
import pytest
from tests.adapters.hosting.hosts import names, table_of
from tests.adapters.hosting.test_host_killed import describe
from tests.support.databases import PostgresSchema, SqliteFile
from tests.support.processes import Call, start_processes

from vault_adapters import (
    Account,
    HostTransactionError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    StorageError,
    TokenNotFoundError,
    TokenSet,
    open_vault,
)
from vault_adapters.testing import ScriptedRefresher

pytestmark = pytest.mark.processes

ACCOUNTS = 4
EXPECTED = (psycopg.Error, sqlite3.Error, StorageError, HostTransactionError)
"""The rows of others: they exist already, are locked, or are being refreshed."""


def account(number):
    return Account("t1", "github", f"user-{number}")


async def add_and_remove(kind, place, schema, seed, count):
    """Add or remove a random customer again and again, sometimes in vain."""
    database = SqliteFile(place) if kind == "sqlite" else PostgresSchema(place, schema)
    choose, table, done = random.Random(seed), table_of(database), 0
    settings = {"storage_timeout": timedelta(seconds=2), "pool_size": 2}
    async with open_vault(database.config(**settings)) as vault:
        opening = aiosqlite.connect(place) if kind == "sqlite" else await psycopg.AsyncConnection.connect(place)
        async with opening as connection:
            print("ready", flush=True)
            for _ in range(count):
                number = choose.randrange(ACCOUNTS)
                on, name = vault.on(connection), f"user-{number}"
                try:
                    if kind == "sqlite":
                        await connection.execute("BEGIN IMMEDIATE")
                    if choose.random() < 0.6:
                        await connection.execute(f"INSERT INTO {table} VALUES ('{name}')")
                        await on.store_token_set(account(number), TokenSet("a", refresh_token="r", expires_in=3600))
                    else:
                        await on.delete_account(account(number))
                        await connection.execute(f"DELETE FROM {table} WHERE name = '{name}'")
                    await (connection.rollback() if choose.random() < 0.2 else connection.commit())
                    done += 1
                except EXPECTED:
                    await connection.rollback()
    return done


async def refresh_all(vault, until):
    while not until.is_set():
        for number in range(ACCOUNTS):
            with suppress(TokenNotFoundError, ReauthorizationRequiredError, RefreshFailedError, StorageError):
                await vault.refresh_account(account(number))
        await asyncio.sleep(0.02)


def always(request):
    async def answer():
        await asyncio.sleep(0.01)
        return TokenSet("refreshed", refresh_token="r2", expires_in=3600)

    return answer()


async def test_the_account_exists_if_and_only_if_the_row_does(database):
    provider, until = ScriptedRefresher(*[always] * 5000), asyncio.Event()
    jobs = [Call(add_and_remove, [*describe(database), seed, 40]) for seed in range(3)]
    jobs.append(Call(add_and_remove, [*describe(database), 9, 10_000]))
    async with open_vault(database.config(), refreshers={"github": provider}) as vault:
        await vault.store_token_set(Account("t1", "other"), TokenSet("a"))
        refreshing = asyncio.create_task(refresh_all(vault, until))
        with start_processes(jobs) as group:
            group.go()
            *finishing, doomed = group
            await asyncio.to_thread(doomed.wait_for_output, "ready")
            await asyncio.sleep(random.uniform(0.5, 1.0))
            doomed.kill()
            done = [await asyncio.to_thread(each.wait, 120) for each in finishing]
        until.set()
        await refreshing
        kept = {info.account.identifier async for info in vault.iter_accounts("t1", provider="github")}
        assert kept == names(database)
        assert sum(each.value for each in done) > 30
        for name in kept:
            assert (await vault.get_access_token(Account("t1", "github", name))) is not None
    assert provider.calls
