"""SQLite transactions end correctly if their callers are cancelled or the database is closed meanwhile."""

import asyncio
import sqlite3

import pytest

from vault_adapters.stores.sqlite.database import SqliteDatabase
from vault_domain.entities.errors import StorageError

ROWS = 20


@pytest.fixture
async def path(tmp_path):
    database = SqliteDatabase(str(tmp_path / "vault.db"))
    await database.open()
    await database.transact(lambda transaction: transaction.execute("CREATE TABLE t (number INTEGER)"))
    await database.close()
    return str(tmp_path / "vault.db")


def count(path):
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT count(*) FROM t").fetchone()[0]
    finally:
        connection.close()


async def insert_slowly(transaction):
    for number in range(ROWS):
        await transaction.execute("INSERT INTO t VALUES (:number)", {"number": number})
        await asyncio.sleep(0.01)


async def start(database):
    caller = asyncio.create_task(database.transact(insert_slowly))
    await asyncio.sleep(0.001)
    assert not caller.done()
    return caller


async def test_a_cancelled_caller_neither_splits_nor_loses_its_transaction(path):
    database = SqliteDatabase(path)
    await database.open()
    caller = await start(database)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    # This transaction waits until the cancelled caller's transaction has ended.
    await database.transact(lambda transaction: transaction.fetch("SELECT 1"))
    assert count(path) == ROWS
    await database.close()


async def test_closing_waits_for_a_transaction_that_its_caller_has_left(path):
    database = SqliteDatabase(path)
    await database.open()
    caller = await start(database)
    caller.cancel()
    await database.close()
    assert count(path) == ROWS


INSERTION = "INSERT INTO t VALUES (:number)"


async def test_a_transaction_may_end_with_statements_that_commit(path):
    database = SqliteDatabase(path)
    await database.open()

    async def work(transaction):
        await transaction.execute(INSERTION, {"number": 1})
        await transaction.finish(
            [(INSERTION, [{"number": 2}, {"number": 3}]), ("DELETE FROM t WHERE number = 1", [{}])]
        )

    await database.transact(work)
    assert count(path) == 2
    await database.close()


async def test_if_one_of_these_statements_fails_nothing_is_written(path):
    database = SqliteDatabase(path)
    await database.open()

    async def work(transaction):
        await transaction.execute(INSERTION, {"number": 1})
        await transaction.finish([(INSERTION, [{"number": 2}]), ("INSERT INTO missing VALUES (1)", [{}])])

    with pytest.raises(StorageError):
        await database.transact(work)
    assert count(path) == 0
    await database.transact(lambda transaction: transaction.execute(INSERTION, {"number": 3}))
    assert count(path) == 1
    await database.close()
