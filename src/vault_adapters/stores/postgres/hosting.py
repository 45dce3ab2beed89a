"""Writes on a connection of the host, inside the host's transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

import psycopg
from attrs import frozen
from psycopg.pq import Escaping, PipelineStatus, TransactionStatus

from vault_adapters.runtime.flights import Flights
from vault_adapters.runtime.host_connections import (
    HostConnection,
    busy_connection,
    failed_transaction,
    no_transaction,
    other_database,
    unfit_store,
    wrong_connection,
)
from vault_adapters.stores.postgres.account_states import AccountStates
from vault_adapters.stores.postgres.accounts import PostgresAccounts
from vault_adapters.stores.postgres.callers_connection import CallersConnection
from vault_adapters.stores.postgres.connections import Connections, refuse_unfit
from vault_adapters.stores.postgres.cursors import Connection, Row, VaultCursor
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.errors import translated
from vault_adapters.stores.postgres.keys import PostgresKeys
from vault_adapters.stores.postgres.limits import Limits, Pace, answered, limits_of
from vault_adapters.stores.postgres.line import Parameters
from vault_adapters.stores.postgres.outages import OutageTracker
from vault_adapters.stores.postgres.peer import Peer
from vault_adapters.stores.postgres.timelines import Timelines
from vault_adapters.stores.queries import Queries
from vault_domain.entities.errors import HostTransactionError

T = TypeVar("T")

_DRIVERS = "psycopg's (version 3), or Django's or SQLAlchemy's over it; asynchronous unless for a SyncVault"

_PLACE = """pg_catalog.concat_ws('/',
    (extract(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.numeric
        * 1000000::pg_catalog.numeric)::pg_catalog.int8,
    (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()),
    (SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = {schema} AND c.relname = 'token'))"""
"""Names a table of one database of one running server. Copies of the database have another place."""

_NAMES = ("search_path", "lock_timeout", "statement_timeout")
"""The settings of the host that are replaced for one call."""

_BEGIN = """SAVEPOINT token_vault_on;
SELECT pg_catalog.current_setting('transaction_read_only'), {place}, {settings};
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL lock_timeout = {lock};
SET LOCAL statement_timeout = {statement};
SAVEPOINT token_vault_statement"""

_AGAIN = "ROLLBACK TO SAVEPOINT token_vault_statement"
_UNDO = "ROLLBACK TO SAVEPOINT token_vault_on; RELEASE SAVEPOINT token_vault_on"
_KEEP = "RELEASE SAVEPOINT token_vault_on; SELECT {restored}"


class _OneConnection(Connections):
    """Gives the connection of the host, always the same."""

    def __init__(self, connection: Connection, peer: Peer) -> None:
        self._connection = connection
        self.peer = peer
        self.outages = OutageTracker()

    most = 1
    are_wanted = False

    async def take(self, *, fresh: bool = False, hasty: bool = False) -> Connection:
        return self._connection

    async def give(self, connection: Connection) -> None:
        pass


class _Direct(Flights):
    """Runs work in its caller's task, so that a cancelled caller leaves nothing running on the host's connection."""

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        return await work


class _HostDatabase(PostgresDatabase):
    """Runs the statements of the store's classes inside the transaction of the host.

    After a statement that failed, the transaction is as it was before the call.
    """

    def __init__(self, line: _Line, clock: Callable[[], datetime] | None, timeout: timedelta) -> None:
        super().__init__(_OneConnection(line.connection, line.peer), prepare=False, clock=clock, timeout=timeout)
        self._flights = _Direct()
        self._line = line

    async def _write(self, sql: str, parameters: Parameters, limits: Limits, then: str | None = None) -> list[Row]:
        return await self._transact(lambda transaction: transaction.both(sql, parameters, then), limits, hasty=False)

    async def _transact(self, work: Callable[[Transaction], Awaitable[T]], limits: Limits, *, hasty: bool) -> T:
        return await self._undone(work(Transaction(self._line.connection, self.now(), limits, prepare=None)))

    async def _undone(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except Exception:
            with suppress(Exception):
                await self._line.script(_AGAIN)
            raise


class _Line:
    """One call on the host's connection.

    Args:
        host: the host's connection.
        limits: the longest times of a statement.
        peer: the database.
    """

    def __init__(self, host: HostConnection, limits: Limits, peer: Peer) -> None:
        wanted: type[Any] = psycopg.AsyncConnection if host.call is None else psycopg.Connection
        if not isinstance(host.driver, wanted):
            raise wrong_connection(_DRIVERS)
        own = host.driver if host.call is None else CallersConnection(host.driver, host.call)
        self.connection = cast("Connection", own)
        self.peer = peer
        self._limits = limits
        self._settings: dict[str, str] = {}

    def check(self) -> None:
        """Check that a transaction is open, or that the first statement begins one.

        Raises:
            HostTransactionError: it is not.
            psycopg.OperationalError: the connection is closed.
        """
        status = self.connection.pgconn.transaction_status
        if self.connection.closed or status == TransactionStatus.UNKNOWN:
            raise psycopg.OperationalError("the connection is closed")
        if status == TransactionStatus.INERROR:
            raise failed_transaction()
        if status == TransactionStatus.ACTIVE or self.connection.pgconn.pipeline_status != PipelineStatus.OFF:
            raise busy_connection()
        if status == TransactionStatus.IDLE and self.connection.autocommit:
            raise no_transaction()
        refuse_unfit(self.connection)

    async def begin(self, schema: str) -> str:
        """Begin the call; return the place of the database.

        Raises:
            HostTransactionError: the transaction is read-only.
        """
        script = _BEGIN.format(
            place=_place(schema),
            settings=", ".join(f"pg_catalog.current_setting('{name}')" for name in _NAMES),
            lock=int(self._limits.lock * 1000),
            statement=int(self._limits.answer * 900),
        )
        try:
            [(read_only, place, *settings)] = await self.script(script)
        except BaseException:  # a cancelled script may have run all the same
            await self.undo()
            raise
        self._settings = dict(zip(_NAMES, settings, strict=True))
        if read_only == "on":
            await self.undo()
            raise HostTransactionError("the host's transaction is read-only", reason="read_only")
        return str(place)

    async def keep(self) -> None:
        """Make what the call has written part of the host's transaction, and restore the host's settings."""
        escaping = Escaping(self.connection.pgconn)
        restored = (
            f"pg_catalog.set_config('{name}', {bytes(escaping.escape_literal(value.encode())).decode()}, true)"
            for name, value in self._settings.items()
        )
        await self.script(_KEEP.format(restored=", ".join(restored)))

    async def undo(self) -> None:
        """Undo what the call has written, and its settings; do nothing if the connection or its thread is lost."""
        with suppress(Exception):
            await self.script(_UNDO)

    async def script(self, sql: str) -> list[Row]:
        """Run several statements; return the rows of all of them, with texts for values."""
        connection = self.connection
        if isinstance(connection, CallersConnection):
            return await answered(connection, self._limits.answer, connection.run_script(sql))
        cursor = VaultCursor(connection)
        await answered(connection, self._limits.answer, cursor.execute(sql, prepare=False))
        rows = await cursor.fetchall() if cursor.description else []
        while cursor.nextset():
            rows += await cursor.fetchall() if cursor.description else []
        return rows


def _place(schema: str) -> str:
    return _PLACE.format(schema="'" + schema.replace("'", "''") + "'")


@frozen
class PostgresHostStore:
    """See `HostStore`."""

    accounts: PostgresAccounts
    keys: PostgresKeys


class PostgresHosting:
    """Opens transactions of hosts.

    Args:
        database: the vault's own connections.
        peer: the database, as errors name it.
        queries, waking: see `PostgresAccounts`.
        schema: the vault's schema.
        clock, timeout: see `PostgresDatabase`.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        peer: Peer,
        queries: Queries,
        waking: Queries,
        schema: str,
        clock: Callable[[], datetime] | None,
        timeout: timedelta,
    ) -> None:
        self._database = database
        self._peer = peer
        self._queries = queries
        self._waking = waking
        self._schema = schema
        self._clock = clock
        self._timeout = timeout
        self._place: str | None = None
        self._in_use: set[int] = set()

    async def look(self) -> None:
        """Find out where the vault's database is, so that a call needs no connection besides the host's."""
        if not self._database.is_distributed:
            [(self._place,)] = await self._database.fetch(f"SELECT {_place(self._schema)}")

    @asynccontextmanager
    async def on(self, connection: HostConnection) -> AsyncIterator[PostgresHostStore]:
        """See `HostedStore`."""
        if self._database.is_distributed:
            raise unfit_store("a host's transaction is not supported where Citus distributes the tables")
        line, number = _Line(connection, limits_of(self._timeout)[Pace.QUICK], self._peer), id(connection.driver)
        if number in self._in_use:
            raise busy_connection()
        self._in_use.add(number)
        try:
            await translated(self._begun(line), self._peer)
            try:
                async with self._store(line) as store:
                    yield store
            except BaseException:
                await line.undo()
                raise
            await translated(line.keep(), self._peer)
        finally:
            self._in_use.discard(number)

    async def _begun(self, line: _Line) -> None:
        """Begin the call, if the connection is to the vault's database."""
        line.check()
        place = await line.begin(self._schema)
        if place != self._place:  # the server may have been started again
            try:
                await self.look()
                if place != self._place:
                    raise other_database()
            except BaseException:
                await line.undo()
                raise

    @asynccontextmanager
    async def _store(self, line: _Line) -> AsyncIterator[PostgresHostStore]:
        database = _HostDatabase(line, self._clock, self._timeout)
        states = AccountStates(database, self._queries, Timelines(database, self._queries))
        accounts = PostgresAccounts(database, self._queries, self._waking, states)
        keys = PostgresKeys(database, self._queries)
        try:
            yield PostgresHostStore(accounts, keys)
        finally:
            await keys.close()  # nothing may run on the connection any more
