"""The SQLite store: opens and closes one database with all ports over it."""

# ruff: noqa: D102 - `Store` describes the ports

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from vault_adapters.runtime.forks import OwnStack
from vault_adapters.stores.sqlite.accounts import SqliteAccounts
from vault_adapters.stores.sqlite.database import DEFAULT_TIMEOUT, MEMORY, SqliteDatabase
from vault_adapters.stores.sqlite.homes import SqliteHomeLedger
from vault_adapters.stores.sqlite.keys import SqliteKeys
from vault_adapters.stores.sqlite.schema import prepare_schema
from vault_adapters.stores.sqlite.statements import load_statements

if TYPE_CHECKING:
    from vault_adapters.runtime.host_connections import HostConnection
    from vault_adapters.stores.queries import Queries
    from vault_adapters.stores.sqlite.audit import SqliteAuditLog
    from vault_adapters.stores.sqlite.boot_clock import BootClock
    from vault_adapters.stores.sqlite.clients import SqliteClientStates
    from vault_adapters.stores.sqlite.documents import SqliteDocuments
    from vault_adapters.stores.sqlite.hosting import SqliteHosting, SqliteHostStore
    from vault_adapters.stores.sqlite.pages import SqlitePages
    from vault_adapters.stores.sqlite.upkeep import SqliteUpkeep
    from vault_domain.ports.change_watch import ChangeHearer, ChangeWatch


class SqliteStore:
    """The ports of one database; those that few processes use are loaded when they are used."""

    def __init__(self, database: SqliteDatabase, queries: Queries, path: str) -> None:
        self._database, self._queries, self.path = database, queries, path
        self.accounts = SqliteAccounts(database, queries)
        self.keys = SqliteKeys(database, queries)
        self.homes = SqliteHomeLedger(database, queries, path)

    @cached_property
    def pages(self) -> SqlitePages:
        """See `Store`, as for the ports below."""
        from vault_adapters.stores.sqlite.pages import SqlitePages

        return SqlitePages(self._database, self._queries)

    @cached_property
    def audit(self) -> SqliteAuditLog:
        from vault_adapters.stores.sqlite.audit import SqliteAuditLog

        return SqliteAuditLog(self._database, self._queries)

    @cached_property
    def clients(self) -> SqliteClientStates:
        from vault_adapters.stores.sqlite.clients import SqliteClientStates

        return SqliteClientStates(self._database, self._queries)

    @cached_property
    def upkeep(self) -> SqliteUpkeep:
        from vault_adapters.stores.sqlite.upkeep import SqliteUpkeep

        return SqliteUpkeep(self._database, self._queries)

    @cached_property
    def documents(self) -> SqliteDocuments:
        """See `DocumentedStore`."""
        from vault_adapters.stores.sqlite.documents import SqliteDocuments

        return SqliteDocuments(self._database, self._queries)

    @cached_property
    def _hosting(self) -> SqliteHosting:
        from vault_adapters.stores.sqlite.hosting import SqliteHosting

        return SqliteHosting(self.path, self._database.identity, self._database.now, self._database.boot)

    def on(self, connection: HostConnection) -> AbstractAsyncContextManager[SqliteHostStore]:
        """See `HostedStore`."""
        return self._hosting.on(connection)

    def watch(self, hearer: ChangeHearer) -> AbstractAsyncContextManager[ChangeWatch]:
        """See `WatchedStore`."""
        from vault_adapters.stores.sqlite.watching import watching

        return watching(self.path, hearer)


@asynccontextmanager
async def open_sqlite_store(
    path: str,
    *,
    migrate: bool,
    clock: Callable[[], datetime] | None,
    timeout: timedelta = DEFAULT_TIMEOUT,
    boot: BootClock | None = None,
) -> AsyncIterator[SqliteStore]:
    """Open a SQLite database as a store and close it afterwards.

    Args:
        path: a file's path, or ``:memory:``.
        migrate: True creates or migrates the schema; False raises an error if it is missing or old.
        clock: replaces the process's clock.
        timeout: longest time that a caller waits for other transactions, and for a query.
        boot: replaces the machine's boot clock, which counts the time since the machine's start. By comparison with it,
            the store notices that the process's clock was set forward or back.

    Raises:
        SchemaOutdatedError: the schema is old or missing and ``migrate`` is False.
        ConfigurationError: Python's SQLite library is too old, a newer release migrated the database, or an applied
            migration's file was changed.
        StorageError: the file cannot be opened.
    """
    database = SqliteDatabase(path, clock, timeout, boot)
    await database.open(create=migrate)
    async with OwnStack() as stack:
        stack.push_async_callback(database.close)
        await prepare_schema(database, migrate=migrate)
        queries = load_statements(versioned=path != MEMORY)
        store = SqliteStore(database, queries, path)
        stack.push_async_callback(store.accounts.close)
        yield store
