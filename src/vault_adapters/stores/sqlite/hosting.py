"""Writes on a connection of the host, inside the host's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import aiosqlite
from attrs import frozen

from vault_adapters.runtime.host_connections import (
    HostConnection,
    busy_connection,
    no_transaction,
    other_database,
    unfit_store,
    wrong_connection,
)
from vault_adapters.stores.sqlite.accounts import SqliteAccounts
from vault_adapters.stores.sqlite.boot_clock import BootClock, clock_functions
from vault_adapters.stores.sqlite.database import Parameters, Row, Run, SqliteDatabase, Transaction, run_all
from vault_adapters.stores.sqlite.errors import FileErrors
from vault_adapters.stores.sqlite.identity import FileIdentity
from vault_adapters.stores.sqlite.keys import SqliteKeys
from vault_adapters.stores.sqlite.statements import load_statements

T = TypeVar("T")

_DRIVERS = "aiosqlite's (sqlite3's for a SyncVault), or Django's or SQLAlchemy's over it"

_LOCK = "UPDATE token_vault_migration SET number = number WHERE false"
"""Takes the lock of writers, and changes nothing.

The lock comes before the first read. Otherwise SQLite would refuse the first write if another connection had written
since the read.
"""


class HostLine:
    """Runs functions and statements on the host's connection, in the thread to which the connection belongs."""

    def __init__(self, connection: HostConnection) -> None:
        self._connection = connection
        driver: Any = connection.driver
        wanted: type[Any] = aiosqlite.Connection if connection.call is None else sqlite3.Connection
        if not isinstance(driver, wanted):
            raise wrong_connection(_DRIVERS)
        self.raw: sqlite3.Connection = driver._conn if connection.call is None else driver  # noqa: SLF001

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function with the connection of sqlite3."""
        if self._connection.call is not None:
            result: T = await self._connection.call(lambda: work(self.raw))
            return result
        execute: Callable[..., Awaitable[T]] = self._connection.driver._execute  # noqa: SLF001 - no public name
        return await execute(work, self.raw)

    async def execute(self, sql: str, parameters: Parameters | None = None) -> tuple[list[Row], int]:
        """Run a statement; return its rows as tuples, and the number of rows that it changed."""

        def work(raw: sqlite3.Connection) -> tuple[list[Row], int]:
            cursor = sqlite3.Cursor(raw).execute(sql, parameters or {})
            return cursor.fetchall(), cursor.rowcount

        return await self.run(work)


class _HostWork(Transaction):
    """The statements of one call, on the host's connection."""

    has_foreign_keys = False  # the host may have switched them off

    def __init__(self, line: HostLine, now: datetime) -> None:
        self._line = line
        self.now = now

    async def execute(self, sql: str, parameters: Parameters | None = None) -> int:
        return (await self._line.execute(sql, parameters))[1]

    async def execute_many(self, sql: str, parameters: Sequence[Parameters]) -> int:
        return await self._line.run(lambda raw: max(sqlite3.Cursor(raw).executemany(sql, parameters).rowcount, 0))

    async def finish(self, runs: Sequence[Run]) -> None:
        await self._line.run(lambda raw: run_all(raw, runs))  # the host commits

    async def fetch(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        return (await self._line.execute(sql, parameters))[0]


class _HostFile(SqliteDatabase):
    """Runs the statements of the store's classes inside the transaction of the host."""

    def __init__(self, line: HostLine, errors: FileErrors, path: str, clock: Callable[[], datetime]) -> None:
        super().__init__(path, clock)
        self._line = line
        self._errors = errors

    async def fetch(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        with self._errors.translated(reads=True):
            return (await self._line.execute(sql, parameters))[0]

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        with self._errors.translated():
            return await work(_HostWork(self._line, self.now()))


@frozen
class SqliteHostStore:
    """See `HostStore`."""

    accounts: SqliteAccounts
    keys: SqliteKeys


@frozen
class _Before:
    """What the connection was set to."""

    secure_delete: int
    text_factory: Any


class SqliteHosting:
    """Opens transactions of hosts.

    Args:
        path: the vault's file.
        identity: the file that was opened; None for a database in memory.
        clock: tells the store's time.
        boot: see `SqliteDatabase`.
    """

    def __init__(
        self, path: str, identity: FileIdentity | None, clock: Callable[[], datetime], boot: BootClock
    ) -> None:
        self._path = path
        self._identity = identity
        self._clock = clock
        self._functions = list(clock_functions(clock, boot))
        self._errors = FileErrors(path)
        self._queries = load_statements(versioned=False)
        self._in_use: set[int] = set()

    @asynccontextmanager
    async def on(self, connection: HostConnection) -> AsyncIterator[SqliteHostStore]:
        """See `HostedStore`."""
        if self._identity is None:
            raise unfit_store("nobody else can connect to a vault's database in memory")
        with self._errors.translated(answers=False):
            line = HostLine(connection)
        if id(line.raw) in self._in_use:
            raise busy_connection()
        self._in_use.add(id(line.raw))
        try:
            async with self._savepoint(line, self._identity):
                file = _HostFile(line, self._errors, self._path, self._clock)
                yield SqliteHostStore(SqliteAccounts(file, self._queries), SqliteKeys(file, self._queries))
        finally:
            self._in_use.discard(id(line.raw))

    @asynccontextmanager
    async def _savepoint(self, line: HostLine, identity: FileIdentity) -> AsyncIterator[None]:
        begun: list[_Before] = []
        try:
            with self._errors.translated():
                await line.run(partial(self._begin, identity, begun))
            yield
        except BaseException:
            with suppress(Exception):  # after some errors SQLite has rolled the whole transaction back
                await line.run(partial(_end, begun, undo=True))
            raise
        with self._errors.translated():
            await line.run(partial(_end, begun, undo=False))

    def _begin(self, identity: FileIdentity, begun: list[_Before], raw: sqlite3.Connection) -> None:
        """Begin the call; add to ``begun`` what the connection was set to. A cancelled caller does not end this."""
        files = {_text(name): path for _, name, path in sqlite3.Cursor(raw).execute("PRAGMA database_list")}
        if not identity.is_of(_text(files["main"])):
            raise other_database()
        if not raw.in_transaction:
            if raw.isolation_level is None or getattr(raw, "autocommit", None) is True:
                raise no_transaction()
            raw.execute("BEGIN IMMEDIATE")  # as sqlite3 itself would before it writes
        before = _Before(sqlite3.Cursor(raw).execute("PRAGMA secure_delete").fetchone()[0], raw.text_factory)
        for name, arguments, function in self._functions:
            with suppress(sqlite3.OperationalError):  # an earlier call has made it, and a statement of the host runs
                raw.create_function(name, arguments, function)
        raw.execute("SAVEPOINT token_vault_on")
        begun.append(before)
        try:
            raw.text_factory = str
            raw.execute("PRAGMA secure_delete = ON").close()
            raw.execute(_LOCK)
        except BaseException:  # an interrupt of the host's thread runs nothing in it any more
            _end(begun, raw, undo=True)
            raise


def _end(begun: list[_Before], raw: sqlite3.Connection, *, undo: bool) -> None:
    """Keep or undo what was written, and give the connection its settings back; do nothing if nothing has begun."""
    if not begun:
        return
    before = begun.pop()
    try:
        if undo:
            raw.execute("ROLLBACK TO token_vault_on")
        raw.execute("RELEASE token_vault_on")
    finally:
        raw.text_factory = before.text_factory
        raw.execute(f"PRAGMA secure_delete = {('OFF', 'ON', 'FAST')[before.secure_delete]}").close()


def _text(value: str | bytes) -> str:
    """Return a text, which a host's ``text_factory`` may have made bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
