"""The Postgres store: opens and closes one connection pool with all ports over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

from attrs import frozen

from vault_adapters.runtime.forks import OwnStack
from vault_adapters.runtime.host_connections import HostConnection
from vault_adapters.stores.postgres.account_states import AccountStates
from vault_adapters.stores.postgres.accounts import PostgresAccounts
from vault_adapters.stores.postgres.audit import PostgresAuditLog
from vault_adapters.stores.postgres.audit_partitions import make_partitions
from vault_adapters.stores.postgres.citus import is_distributed
from vault_adapters.stores.postgres.citus_statements import held_statements
from vault_adapters.stores.postgres.citus_states import CitusAccountStates
from vault_adapters.stores.postgres.clients import PostgresClientStates
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.documents import PostgresDocuments
from vault_adapters.stores.postgres.homes import PostgresHomeLedger
from vault_adapters.stores.postgres.hosting import PostgresHosting, PostgresHostStore
from vault_adapters.stores.postgres.keys import PostgresKeys
from vault_adapters.stores.postgres.limits import DEFAULT_TIMEOUT
from vault_adapters.stores.postgres.listening import DeafWatch, NotificationWatch, listening
from vault_adapters.stores.postgres.pages import PostgresPages
from vault_adapters.stores.postgres.pools import adopt_pool, open_connections
from vault_adapters.stores.postgres.schema import adopt_restored, prepare_schema
from vault_adapters.stores.postgres.statements import load_statements
from vault_adapters.stores.postgres.tenants import warn_of_old_trigger
from vault_adapters.stores.postgres.timelines import NO_TIMELINE, Timelines, timeline_sql
from vault_adapters.stores.postgres.upkeep import PostgresUpkeep
from vault_adapters.stores.postgres.versions import NO_VERSION, row_hash_sql, version_sql
from vault_domain.entities.measures import PoolCounts
from vault_domain.entities.secret import Secret, as_secret
from vault_domain.ports.change_watch import ChangeHearer, ChangeWatch


@frozen
class PostgresStore:
    """The ports of one schema."""

    accounts: PostgresAccounts
    pages: PostgresPages
    keys: PostgresKeys
    audit: PostgresAuditLog
    clients: PostgresClientStates
    upkeep: PostgresUpkeep
    homes: PostgresHomeLedger
    documents: PostgresDocuments
    make_watch: Callable[[ChangeHearer], NotificationWatch]
    pool_counts: Callable[[], PoolCounts]
    hosting: PostgresHosting

    def on(self, connection: HostConnection) -> AbstractAsyncContextManager[PostgresHostStore]:
        """See `HostedStore`."""
        return self.hosting.on(connection)

    @asynccontextmanager
    async def watch(self, hearer: ChangeHearer) -> AsyncIterator[ChangeWatch]:
        """See `WatchedStore`."""
        watch = self.make_watch(hearer)
        async with OwnStack() as stack:
            await stack.enter_async_context(listening(watch))
            yield watch


@asynccontextmanager
async def open_postgres_store(
    url: Secret | str,
    *,
    migrate: bool,
    clock: Callable[[], datetime] | None = None,
    schema: str = "token_vault",
    pool: object = None,
    pool_size: int = 10,
    prepare: bool = True,
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> AsyncIterator[PostgresStore]:
    """Open a schema of a Postgres database as a store and close it afterwards.

    Args:
        url: a libpq URL, which may hold a password; ignored if a pool is given.
        migrate: True creates or migrates the schema; False raises an error if it is missing or old.
        clock: replaces the database's time.
        schema: the schema's name.
        pool: the host's `psycopg_pool.AsyncConnectionPool`; the store never configures or closes it.
        pool_size: largest number of connections of the store's own pool.
        prepare: whether to prepare statements on the server; some poolers do not support it.
        timeout: longest wait for the server's answer to a quick statement, and longest wait for a free connection.

    Raises:
        SchemaOutdatedError: the schema is old or missing and ``migrate`` is False.
        ConfigurationError: the URL, the server's version, a connection's settings or the host's pool cannot be used; a
            newer release migrated the schema; an applied migration's file was changed; or Citus distributes the tables,
            ``migrate`` is False, and a function that the vault needs on Citus is missing.
        StorageError: the server cannot be reached.
    """
    url = as_secret(url)  # tracebacks must not hold the URL as plain text
    if pool is None:
        connections = await open_connections(url, size=pool_size, prepare=prepare, timeout=timeout)
    else:
        connections = adopt_pool(pool, timeout=timeout)
    database = PostgresDatabase(connections, prepare=prepare, clock=clock, timeout=timeout)
    async with OwnStack() as stack:
        stack.push_async_callback(database.close)
        await prepare_schema(database, schema, migrate=migrate)
        distributed = await is_distributed(database, schema, migrate=migrate)
        timeline = NO_TIMELINE if distributed else await timeline_sql(database)
        version = NO_VERSION if distributed else await version_sql(database, schema)
        hashes = {"version": version, "row_hash": await row_hash_sql(database)}
        load = partial(load_statements, schema, timeline=timeline, distributed=distributed, **hashes)
        queries, waking = load(), load(waking=True)
        if distributed:
            database.distribute(held_statements(queries, waking))
        if migrate:
            await make_partitions(database, schema)
        if migrate and not distributed:
            await adopt_restored(database, queries, schema)
        await warn_of_old_trigger(database, schema)
        await database.begin_watching()
        timelines = Timelines(database, queries)
        await timelines.current()  # a new database's first timeline is noted before it can change
        states = (CitusAccountStates if distributed else AccountStates)(database, queries, timelines)
        accounts = PostgresAccounts(database, queries, waking, states)
        keys = PostgresKeys(database, queries)
        hosting = PostgresHosting(database, connections.peer, queries, waking, schema, clock, timeout)
        await hosting.look()
        watch = DeafWatch if distributed else NotificationWatch
        stack.push_async_callback(keys.close)
        stack.push_async_callback(accounts.close)
        yield PostgresStore(
            accounts,
            PostgresPages(database, queries),
            keys,
            PostgresAuditLog(database, queries, schema, timelines),
            PostgresClientStates(database, queries),
            PostgresUpkeep(database, queries),
            PostgresHomeLedger(database, queries, schema),
            PostgresDocuments(database, queries),
            lambda hearer: watch(connections, database, schema, hearer, timeout.total_seconds()),
            connections.counts,
            hosting,
        )
