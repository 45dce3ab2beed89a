"""`SyncVault.import_tokens` reads the caller's rows on the caller's thread, because many iterables work there only."""

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from vault_adapters import ConfigurationError, ImportedToken, ImportReport, InvalidInputError, Secret, TokenKey
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


@pytest.mark.parametrize(("args", "kwargs"), [(([row(1)],), {"rows": [row(2)]}), ((), {})], ids=["twice", "never"])
def test_rows_are_given_once(vault, args, kwargs):
    """A call without rows, or with rows twice, raises a TypeError, as a call of any method would."""
    with pytest.raises(TypeError, match="argument"):
        vault.import_tokens(*args, **kwargs)
    assert list(vault.iter_tokens("t1")) == []


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


def test_closing_ends_an_import_whose_rows_do_not_come(vault, monkeypatch):
    monkeypatch.setattr("vault_adapters.sync.session._PATIENCE_SECONDS", 0.05)
    reading, go_on = threading.Event(), threading.Event()

    def rows():
        yield row(1)
        reading.set()
        go_on.wait(20)
        yield row(2)

    with ThreadPoolExecutor(2) as pool:
        importing = pool.submit(vault.import_tokens, rows())
        assert reading.wait(20)
        try:
            pool.submit(vault.close).result(20)
            assert not importing.done(), "the caller's thread still waits for its iterable"
        finally:
            go_on.set()
        with pytest.raises(ConfigurationError) as caught:
            importing.result(20)
    assert caught.value.code == "vault_closed"


class Rounds(threading.Condition):
    """A condition: each of its first ``rows`` waits lets the import read one row, and then times out."""

    def __init__(self, rows, go_on, reading):
        super().__init__()
        self._rows = rows
        self._go_on = go_on
        self._reading = reading

    def wait_for(self, predicate, timeout=None):
        if self._rows:
            self._rows -= 1
            self._go_on.release()
            assert self._reading.acquire(timeout=20)
            return super().wait_for(predicate, 0)
        return super().wait_for(predicate, 20)


def test_closing_waits_for_an_import_whose_rows_come_slowly(vault, monkeypatch):
    monkeypatch.setattr("vault_adapters.sync.rows._AT_ONCE", 1)
    go_on, reading = threading.Semaphore(0), threading.Semaphore(0)

    def rows():
        for number in range(3):
            reading.release()
            assert go_on.acquire(timeout=20)
            yield row(number)
        reading.release()

    vault._session._idle = Rounds(3, go_on, reading)
    with ThreadPoolExecutor(2) as pool:
        importing = pool.submit(vault.import_tokens, rows())
        assert reading.acquire(timeout=20)
        pool.submit(vault.close).result(40)
        assert importing.result(20).imported == 3
