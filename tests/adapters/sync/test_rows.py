"""`SyncVault.import_tokens` reads the caller's rows on the caller's thread, because many of them work there only."""

import asyncio
import sqlite3
import threading

import pytest

from vault_adapters import ImportedToken, ImportReport, InvalidInputError, Secret, TokenKey
from vault_adapters.testing import memory_sync_vault


@pytest.fixture
def vault():
    with memory_sync_vault() as vault:
        yield vault


def row(number):
    return ImportedToken(TokenKey("t1", "google", "refresh_token", f"user-{number}"), Secret(f"value-{number}"))


def test_a_connection_that_refuses_other_threads_may_give_the_rows(vault):
    with sqlite3.connect(":memory:") as connection:  # as Django's ORM does, it refuses another thread
        connection.execute("CREATE TABLE legacy (number INTEGER)")
        connection.executemany("INSERT INTO legacy VALUES (?)", [(number,) for number in range(2500)])
        rows = (row(number) for (number,) in connection.execute("SELECT number FROM legacy"))
        seen = []
        report = vault.import_tokens(rows, progress=lambda so_far: seen.append(so_far.imported))
    connection.close()
    assert report == ImportReport(imported=2500)
    assert seen == [1000, 2000, 2500]
    assert len(list(vault.iter_tokens("t1"))) == 2500


def test_no_event_loop_runs_where_the_rows_are_read(vault):
    def rows():
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        assert threading.current_thread() is threading.main_thread()
        yield row(1)

    assert vault.import_tokens(rows=rows()).imported == 1


@pytest.mark.parametrize("failure", [ZeroDivisionError("of the host"), KeyboardInterrupt()])
def test_an_error_of_the_rows_is_raised_and_the_vault_goes_on(vault, failure):
    def rows():
        yield row(1)
        raise failure

    with pytest.raises(type(failure)) as caught:
        vault.import_tokens(rows())
    assert caught.value is failure
    assert vault.import_tokens([row(2)]).imported == 1


def test_rows_are_not_read_on_after_a_wrong_one(vault):
    read = []

    def rows():
        for number in range(10_000):
            read.append(number)
            yield row(number) if number != 1500 else "no row"

    with pytest.raises(InvalidInputError):
        vault.import_tokens(rows())
    assert len(read) <= 3000


def test_asynchronous_rows_and_no_rows_work_too(vault):
    async def rows():
        yield row(1)

    assert vault.import_tokens(rows()).imported == 1
    assert vault.import_tokens(iter([])) == ImportReport()
    with pytest.raises(InvalidInputError):
        vault.import_tokens(None)
