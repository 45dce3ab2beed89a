"""Each caller of a SQLite database waits no longer than its own limit, and a replaced file is noticed."""

import asyncio
import os
import sqlite3
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest

from vault_adapters import Account, Secret, StorageError, TokenSet, VaultConfig, open_vault
from vault_adapters.stores.sqlite.database import SqliteDatabase
from vault_adapters.testing import ScriptedRefresher

CALLERS, LIMIT = 20, 0.3


@pytest.fixture
async def database(tmp_path):
    opened = SqliteDatabase(str(tmp_path / "vault.db"), timeout=timedelta(seconds=LIMIT))
    await opened.open()
    await opened.transact(lambda transaction: transaction.execute("CREATE TABLE t (number INTEGER)"))
    yield opened
    await opened.close()


@contextmanager
def locked(path):
    """Hold the write lock, like a process that was stopped in the middle of its transaction."""
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield other
    finally:
        other.close()


async def insert(transaction):
    await transaction.execute("INSERT INTO t VALUES (1)")


async def failure(awaitable):
    with pytest.raises(StorageError) as caught:
        await awaitable
    return caught.value


async def test_no_caller_waits_for_the_limits_of_those_before_it(database, tmp_path):
    started = time.monotonic()
    with locked(tmp_path / "vault.db"):
        results = await asyncio.gather(*(database.transact(insert) for _ in range(CALLERS)), return_exceptions=True)
    assert time.monotonic() - started < CALLERS * LIMIT / 2
    assert [(type(result), result.retryable) for result in results] == [(StorageError, True)] * CALLERS
    await database.transact(insert)
    assert await database.fetch("SELECT count(*) FROM t") == [(1,)]


async def test_a_caller_waits_as_long_as_its_limit_allows(tmp_path):
    database = SqliteDatabase(str(tmp_path / "vault.db"), timeout=timedelta(seconds=30))
    await database.open()
    await database.transact(lambda transaction: transaction.execute("CREATE TABLE t (number INTEGER)"))
    with locked(tmp_path / "vault.db") as other:
        calls = [asyncio.create_task(database.transact(insert)) for _ in range(3)]
        await asyncio.sleep(0.6)  # longer than SQLite itself waits
        other.rollback()
        results = await asyncio.gather(*calls, return_exceptions=True)
    found = await database.fetch("SELECT count(*) FROM t")
    await database.close()
    assert (results, found) == ([None] * 3, [(3,)])


async def test_a_transaction_that_has_begun_is_not_limited_and_the_next_ones_are(database):
    async def slow(transaction):
        await asyncio.sleep(2 * LIMIT)
        await insert(transaction)

    running = asyncio.create_task(database.transact(slow))
    await asyncio.sleep(0)
    assert (await failure(database.transact(insert))).retryable
    await running
    assert await database.fetch("SELECT count(*) FROM t") == [(1,)]


async def test_the_one_connection_of_a_database_in_memory_has_the_limit_too():
    database = SqliteDatabase(":memory:", timeout=timedelta(seconds=0.05))
    await database.open()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work(_):
        begun.set()
        await go_on.wait()

    running = asyncio.create_task(database.transact(work))
    await begun.wait()
    assert (await failure(database.fetch("SELECT 1"))).retryable
    go_on.set()
    await running
    assert await database.fetch("SELECT 1") == [(1,)]
    await database.close()


def delete(path):
    path.unlink()


def replace(path):
    path.rename(path.with_name("moved.db"))
    sqlite3.connect(path).close()
    path.touch()


@pytest.mark.parametrize("change", [delete, replace])
async def test_a_file_that_was_deleted_or_replaced_is_noticed(database, tmp_path, change):
    change(tmp_path / "vault.db")
    for call in (database.transact(insert), database.fetch("SELECT count(*) FROM t")):
        error = await failure(call)
        assert (error.code, error.retryable) == ("database_replaced", False)


@pytest.mark.parametrize("change", [delete, replace])
async def test_reads_notice_it_soon_and_then_at_once(database, tmp_path, change):
    await database.fetch("SELECT count(*) FROM t")
    change(tmp_path / "vault.db")
    async with asyncio.timeout(30):
        while True:
            try:
                await database.fetch("SELECT count(*) FROM t")
            except StorageError:
                break
            await asyncio.sleep(0.01)
    assert (await failure(database.fetch("SELECT count(*) FROM t"))).code == "database_replaced"


@pytest.mark.parametrize("change", [delete, replace])
async def test_what_was_written_into_a_deleted_file_is_not_reported_as_stored(database, tmp_path, change):
    async def work(transaction):
        await insert(transaction)
        change(tmp_path / "vault.db")

    assert (await failure(database.transact(work))).code == "database_replaced"


async def test_a_change_of_the_working_directory_is_none_of_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    database = SqliteDatabase("vault.db")
    await database.open()
    os.chdir("/")
    assert await database.fetch("SELECT 1") == [(1,)]
    await database.close()


async def test_nothing_is_claimed_or_sent_once_the_file_is_gone(tmp_path):
    config = VaultConfig(
        database_url=f"sqlite:///{tmp_path}/vault.db",
        encryption_secret=Secret("limits-of-sqlite-tests-" + "0" * 40),
        scrypt_log2_n=14,
    )
    account, refresher = Account("t1", "acme"), ScriptedRefresher(TokenSet("new", "new", expires_in=3600))
    async with open_vault(config, refreshers={"acme": refresher}) as vault:
        await vault.store_token_set(account, TokenSet("access", "refresh", expires_in=0.001))
        (tmp_path / "vault.db").unlink()
        for call in (vault.refresh_account(account), vault.store_token_set(account, TokenSet("b"))):
            assert (await failure(call)).code == "database_replaced"
    assert refresher.calls == []


async def test_a_transaction_waits_beyond_its_limit_while_earlier_ones_succeed(database):
    """This process is busy, for example with many callers; the file is well."""

    async def busily(transaction):
        time.sleep(0.06)  # noqa: ASYNC251 - the work of other callers
        await insert(transaction)

    started = time.monotonic()
    await asyncio.gather(*(database.transact(busily) for _ in range(10)))
    assert time.monotonic() - started > 1.5 * LIMIT
    [(count,)] = await database.fetch("SELECT count(*) FROM t")
    assert count == 10
