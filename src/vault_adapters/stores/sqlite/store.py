"""The SQLite store: opens and closes one database with all ports over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta

from attrs import frozen

from vault_adapters.runtime.forks import OwnStack
from vault_adapters.runtime.host_connections import HostConnection
from vault_adapters.stores.sqlite.accounts import SqliteAccounts
from vault_adapters.stores.sqlite.audit import SqliteAuditLog
from vault_adapters.stores.sqlite.boot_clock import BootClock
from vault_adapters.stores.sqlite.clients import SqliteClientStates
from vault_adapters.stores.sqlite.database import DEFAULT_TIMEOUT, MEMORY, SqliteDatabase
from vault_adapters.stores.sqlite.homes import SqliteHomeLedger
from vault_adapters.stores.sqlite.hosting import SqliteHosting, SqliteHostStore
from vault_adapters.stores.sqlite.keys import SqliteKeys
from vault_adapters.stores.sqlite.pages import SqlitePages
from vault_adapters.stores.sqlite.schema import prepare_schema
from vault_adapters.stores.sqlite.statements import load_statements
from vault_adapters.stores.sqlite.upkeep import SqliteUpkeep
from vault_adapters.stores.sqlite.watching import watching
from vault_domain.ports.change_watch import ChangeHearer, ChangeWatch


@frozen
class SqliteStore:
    """The ports of one database."""

    accounts: SqliteAccounts
    pages: SqlitePages
    keys: SqliteKeys
    audit: SqliteAuditLog
    clients: SqliteClientStates
    upkeep: SqliteUpkeep
    homes: SqliteHomeLedger
    path: str
    hosting: SqliteHosting

    def on(self, connection: HostConnection) -> AbstractAsyncContextManager[SqliteHostStore]:
        """See `HostedStore`."""
        return self.hosting.on(connection)

    def watch(self, hearer: ChangeHearer) -> AbstractAsyncContextManager[ChangeWatch]:
        """See `WatchedStore`."""
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
        accounts = SqliteAccounts(database, queries)
        stack.push_async_callback(accounts.close)
        yield SqliteStore(
            accounts,
            SqlitePages(database, queries),
            SqliteKeys(database, queries),
            SqliteAuditLog(database, queries),
            SqliteClientStates(database, queries),
            SqliteUpkeep(database, queries),
            SqliteHomeLedger(database, queries, path),
            path,
            SqliteHosting(path, database.now, database.boot),
        )
