"""Runs queries and transactions on SQLite; cancelling a caller cannot interrupt a transaction."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from vault_adapters.runtime.deadlines import Deadlines
from vault_adapters.runtime.flights import Flights
from vault_adapters.stores.batching import own_loop
from vault_adapters.stores.sqlite.boot_clock import BootClock, clock_functions, machine_boot_clock, no_boot_clock
from vault_adapters.stores.sqlite.errors import FileErrors
from vault_adapters.stores.sqlite.identity import FileIdentity
from vault_adapters.stores.sqlite.permissions import tighten
from vault_domain.entities.causes import LOCKED, READ_ONLY, TIMEOUT
from vault_domain.entities.errors import ConfigurationError, SchemaOutdatedError, StorageError

T = TypeVar("T")
Parameters = Mapping[str, Any]
Row = tuple[Any, ...]
Run = tuple[str, Sequence[Parameters]]
"""A statement, and its parameters for each time that it is run."""

COMMIT: Run = ("COMMIT", [{}])

MEMORY = ":memory:"

_OLDEST_SQLITE = (3, 37, 0)  # the first version with STRICT tables

DEFAULT_TIMEOUT = timedelta(seconds=5)
"""Longest time that a caller waits for other transactions, and for a query. Only a fault makes it wait this long."""

_BUSY_SECONDS = 0.25
"""Time for which SQLite itself waits for another process. It is short, so that each caller's own limit is kept."""

_PAUSE_SECONDS = 0.005

_MOST_WAITS = 4
"""While earlier transactions succeed, a transaction waits for its turn for this many limits at most."""

# WAL lets readers run beside the writer. FULL keeps committed tokens after a power cut. secure_delete overwrites
# deleted rows with zeros.
_PRAGMAS = (
    f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
)

# A checkpoint waits for readers, and this process's writers wait for the checkpoint. So the checkpoint waits two
# seconds at most.
_SHORT_PATIENCE = "PRAGMA busy_timeout = 2000"


class Transaction:
    """Runs the statements of one write transaction; ``now`` is its time, the same for all of them.

    Each call of the connection is a way to its thread and back. So a cursor is not closed: a statement without rows has
    ended when it was executed.

    Attributes:
        has_foreign_keys: whether the connection enforces foreign keys.
    """

    has_foreign_keys = True

    def __init__(self, connection: aiosqlite.Connection, now: datetime) -> None:
        self._connection = connection
        self.now = now
        self.is_committed = False

    async def execute(self, sql: str, parameters: Parameters | None = None) -> int:
        """Run a statement that returns no rows; return the number of changed rows."""
        cursor = await self._connection.execute(sql, parameters or {})
        return cursor.rowcount

    async def execute_many(self, sql: str, parameters: Sequence[Parameters]) -> int:
        """Run a statement once per set of parameters; return the number of rows changed in total."""
        if not parameters:
            return 0
        cursor = await self._connection.executemany(sql, parameters)
        return cursor.rowcount

    async def finish(self, runs: Sequence[Run]) -> None:
        """Run statements one after the other, each once per set of parameters, and commit; nothing may follow.

        All this is one way to the thread and back.
        """
        execute: Callable[..., Awaitable[None]] = self._connection._execute  # noqa: SLF001 - no public name
        await execute(run_all, self._connection._conn, [*runs, COMMIT])  # noqa: SLF001 - no public name
        self.is_committed = True

    async def fetch(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        """Run a query; return its rows."""
        return list(await self._connection.execute_fetchall(sql, parameters or {}))  # type: ignore[arg-type]


class SqliteDatabase:
    """Runs statements on one database, on the event loop that opened it.

    One connection writes and another one reads; a database in memory has a single connection for both.

    Args:
        path: a file's path, or ``:memory:`` for a database that only this object sees.
        clock: replaces the process's clock.
        boot: replaces the machine's boot clock, which keeps leases right when the system's clock is changed. None: the
            machine's boot clock, or no boot clock if ``clock`` is given.
        timeout: longest time that a caller waits for other transactions, also those of this process, and for a query.
            The time begins with the caller's call. A transaction that has begun is not limited.
    """

    def __init__(
        self,
        path: str,
        clock: Callable[[], datetime] | None = None,
        timeout: timedelta = DEFAULT_TIMEOUT,
        boot: BootClock | None = None,
    ) -> None:
        self._path = path
        self._errors = FileErrors(path)
        self._now = clock or _utc_now
        self.boot = boot or (machine_boot_clock if clock is None else no_boot_clock)
        self._timeout = timeout.total_seconds()
        self.identity: FileIdentity | None = None
        self._lock = asyncio.Lock()
        self._deadlines = Deadlines()
        self._done = 0  # transactions that have succeeded
        self._writes = Flights()
        self._loop = asyncio.get_running_loop()

    async def open(self, *, create: bool = True) -> None:
        """Open the file.

        Args:
            create: create the file if it is missing. A new file has the mode 0600. Other users lose their rights to an
                existing file if it belongs to this user.

        Raises:
            SchemaOutdatedError: the file is missing and ``create`` is False.
            ConfigurationError: Python's SQLite library is too old.
            StorageError: the file cannot be opened.
        """
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigurationError("SQLite 3.37 or newer is needed", code="sqlite_too_old")
        with self._errors.translated():
            if self._path != MEMORY:
                _find(Path(self._path), create=create)
            self._reader = self._writer = await self._connected()
            try:
                if self._path != MEMORY:
                    tighten(Path(self._path))  # only now is it known that the file is a database
                    self._reader = await self._connected()
                    self.identity = FileIdentity(Path(self._path))
            except BaseException:
                await self._close_connections()
                raise

    async def _connected(self) -> aiosqlite.Connection:
        connection = await _connect(self._path, self._end())
        for name, arguments, function in clock_functions(self._now, self.boot):
            await connection.create_function(name, arguments, function)
        return connection

    async def close(self) -> None:
        """Wait for running transactions and close the connections."""
        await self._writes.wait()
        with self._errors.translated(answers=False):
            await self._close_connections()

    async def _close_connections(self) -> None:
        if self._reader is not self._writer:
            await _close(self._reader)
        await _close(self._writer)

    def now(self) -> datetime:
        """Return the store's time."""
        return self._now()

    async def fetch(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        """Run a query outside of any transaction; return its rows.

        Raises:
            StorageError: the query failed or took too long, or the file was deleted or replaced (``database_replaced``;
                noticed within 0.1 s).
        """
        own_loop(self._loop)
        end = self._end()
        query = partial(self._reader.execute_fetchall, sql, parameters or {})
        with self._errors.translated(reads=True):
            if self.identity is not None:
                self.identity.check_for_read()
            if self._reader is not self._writer:
                return list(await self._in_time(_patiently(query, end)))  # type: ignore[arg-type]
            async with self._turn():  # on the shared connection, the query would otherwise run inside a transaction
                return list(await query())  # type: ignore[arg-type]

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run ``work`` in a transaction; cancelling the caller does not cancel the transaction.

        Raises:
            StorageError: the transaction failed, other transactions took longer than the limit (retryable), or the file
                was deleted or replaced (``database_replaced``).
        """
        own_loop(self._loop)
        return await self._writes.run(self._run(work, self._end()))

    def check_writable(self) -> None:
        """Check that this process may write the file, without waiting for other writers.

        Raises:
            StorageError: it may not (``read_only``).
        """
        with self._errors.translated(reads=True):
            if self.identity is not None and not self.identity.is_writable():
                raise StorageError(f"{self._errors.name} takes no writes", retryable=False, reason=READ_ONLY)

    async def checkpoint(self) -> bool:
        """Move the write-ahead log into the file and empty the log; return False if another connection prevents it."""
        own_loop(self._loop)
        with self._errors.translated():
            async with self._turn():
                await self._writer.execute_fetchall(_SHORT_PATIENCE)
                try:
                    [(busy, *_)] = await self._writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
                finally:
                    await self._writer.execute_fetchall(_PRAGMAS[0])
                return not busy

    async def _run(self, work: Callable[[Transaction], Awaitable[T]], end: float) -> T:
        with self._errors.translated():
            async with self._turn():
                self._check_file()
                await _patiently(lambda: self._writer.execute("BEGIN IMMEDIATE"), end)
                try:
                    transaction = Transaction(self._writer, self._now())
                    result = await work(transaction)
                    if not transaction.is_committed:
                        await self._writer.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):  # after some errors SQLite has already rolled back
                        await self._writer.execute("ROLLBACK")
                    raise
                self._check_file()  # if the path no longer names this file, nobody can read the transaction
                return result

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait for this process's earlier transactions, which run in the order of their calls."""
        for _ in range(_MOST_WAITS):
            done = self._done
            try:
                await self._deadlines.within(self._timeout, self._lock.acquire)
            except TimeoutError:
                if self._done == done:  # otherwise, this process is only busy
                    break
            else:
                try:
                    yield
                    self._done += 1
                finally:
                    self._lock.release()
                return
        # Raise the error here and not above, so that it has no ``__context__``.
        raise StorageError(f"other transactions on {self._errors.name} took too long", retryable=True, reason=LOCKED)

    async def _in_time(self, reading: Awaitable[T]) -> T:
        """Await a query, but not beyond the limit, because SQLite itself waits up to ten seconds for some locks.

        Raises:
            StorageError: the query did not end in time; it goes on in the connection's thread.
        """
        try:
            return await self._deadlines.within(self._timeout, lambda: reading)
        except TimeoutError:
            pass  # raise the new error below, so that it has no ``__context__``
        raise StorageError(f"{self._errors.name} did not answer in time", retryable=True, reason=TIMEOUT)

    def _end(self) -> float:
        return self._loop.time() + self._timeout

    def _check_file(self) -> None:
        if self.identity is not None:
            self.identity.check()


def run_all(connection: sqlite3.Connection, runs: Sequence[Run]) -> None:
    """Run statements, each once per set of parameters, in the connection's thread."""
    for sql, several in runs:
        for parameters in several:
            sqlite3.Cursor(connection).execute(sql, parameters)


async def _patiently(call: Callable[[], Awaitable[T]], end: float) -> T:
    """Repeat a statement while another process's transaction blocks it, until the event loop's time ``end``."""
    while True:
        try:
            return await call()
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or asyncio.get_running_loop().time() >= end:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)


async def _connect(path: str, end: float) -> aiosqlite.Connection:
    connection = aiosqlite.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        await connection
    except BaseException:
        await _end_of_thread(connection)
        raise
    try:
        for pragma in _PRAGMAS:
            # Changing a new file to WAL needs exclusive access, for which SQLite itself does not wait.
            await _patiently(partial(connection.execute_fetchall, pragma), end)
    except BaseException:
        await _close(connection)
        raise
    return connection


async def _close(connection: aiosqlite.Connection) -> None:
    await connection.close()
    await _end_of_thread(connection)


async def _end_of_thread(connection: aiosqlite.Connection) -> None:
    # Wait for aiosqlite's thread. After a failed connect it still calls the event loop, and it would write an error
    # to stderr if the loop were closed by then. (In older releases the connection itself is the thread.)
    thread: Any = getattr(connection, "_thread", connection)
    while thread.is_alive():  # noqa: ASYNC110 - a thread has no event to wait for
        await asyncio.sleep(0.0005)


def _find(path: Path, *, create: bool) -> None:
    """Check that the file exists, or create it for its owner only; SQLite would create a file that others can read."""
    if path.exists():
        return
    if not create and path.parent.is_dir():
        raise SchemaOutdatedError  # if the folder is missing, connecting raises a StorageError instead
    # SQLite gives its WAL file the mode of the database file.
    with suppress(FileExistsError, FileNotFoundError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _utc_now() -> datetime:
    return datetime.now(UTC)
