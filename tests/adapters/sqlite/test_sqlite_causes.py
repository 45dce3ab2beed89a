"""Errors and logs name the cause for which an SQLite file could not be used."""

import asyncio
import logging
import sqlite3
import threading
from datetime import timedelta

import aiosqlite
import pytest
from tests.adapters.postgres.samples import ACCESS, prepare, write

from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_domain.entities.errors import StorageError

SHORT = timedelta(seconds=0.5)


async def failing(work):
    with pytest.raises(StorageError) as caught:
        await work
    assert caught.value.__cause__ is None
    return caught.value.reason


async def opening(path):
    async with open_sqlite_store(str(path), migrate=True, clock=None, timeout=SHORT):
        pass


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_a_folder_is_missing(tmp_path, caplog):
    path = tmp_path / "missing" / "vault.db"
    assert await failing(opening(path)) == "database_missing"
    assert warnings(caplog) == [f"the SQLite database {path} fails: database_missing"]


async def test_a_path_is_a_folder(tmp_path):
    assert await failing(opening(tmp_path)) == "permission_denied"


async def test_a_file_is_something_else(tmp_path):
    path = tmp_path / "vault.db"
    path.write_bytes(b"no database" * 1000)
    assert await failing(opening(path)) == "corrupt"


async def test_nothing_stays_open_if_the_second_connection_fails(tmp_path, monkeypatch):
    connect, given = aiosqlite.connect, []

    def limited(*args, **kwargs):
        given.append(connect(*args, **kwargs))
        if len(given) > 1:  # as if the process had reached its limit of open files
            given[-1]._connector = lambda: sqlite3.connect(str(tmp_path / "missing" / "vault.db"))
        return given[-1]

    monkeypatch.setattr(aiosqlite, "connect", limited)
    threads = threading.active_count()
    await failing(opening(tmp_path / "vault.db"))
    left = threading.active_count()
    await given[0].close()  # its thread would hold up the end of the tests
    assert (len(given), left) == (2, threads)


async def test_the_disk_is_full_and_gets_room_again(tmp_path, caplog):
    path = tmp_path / "vault.db"
    async with open_sqlite_store(str(path), migrate=True, clock=None, timeout=SHORT) as store:
        await prepare(store)
        writer = store.accounts._database._writer
        [(pages,)] = await writer.execute_fetchall("PRAGMA page_count")
        await writer.execute_fetchall(f"PRAGMA max_page_count = {pages}")
        big = write(blob=b"x" * 60_000)
        assert [await failing(store.accounts.store([big], actor=None)) for _ in range(3)] == ["disk_full"] * 3
        await writer.execute_fetchall("PRAGMA max_page_count = 100000")
        await store.accounts.store([big], actor=None)
    assert warnings(caplog) == [
        f"the SQLite database {path} fails: disk_full",
        f"the SQLite database {path} works again; failures: 3, the last one: disk_full",
    ]


async def test_closing_a_file_does_not_show_that_it_works(tmp_path, caplog):
    path = tmp_path / "vault.db"
    async with open_sqlite_store(str(path), migrate=True, clock=None, timeout=SHORT) as store:
        await prepare(store)
        path.unlink()
        await failing(store.accounts.store([write()], actor=None))
    assert warnings(caplog) == [f"the SQLite database {path} fails: database_replaced"]


async def test_another_process_holds_the_lock(tmp_path):
    path = tmp_path / "vault.db"
    async with open_sqlite_store(str(path), migrate=True, clock=None, timeout=SHORT) as store:
        await prepare(store)
        other = sqlite3.connect(path, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            works = [store.accounts.store([write()], actor=None) for _ in range(2)]
            assert await asyncio.gather(*map(failing, works)) == ["locked", "locked"]
        finally:
            other.close()


async def test_a_file_is_read_only(tmp_path, caplog):
    path = tmp_path / "vault.db"
    async with open_sqlite_store(str(path), migrate=True, clock=None, timeout=SHORT) as store:
        await prepare(store)
        await store.accounts._database._writer.execute_fetchall("PRAGMA query_only = ON")
        for _ in range(2):
            assert await failing(store.accounts.store([write()], actor=None)) == "read_only"
            assert (await store.accounts.get(ACCESS)).row is None
    assert warnings(caplog) == [f"the SQLite database {path} fails: read_only"]
