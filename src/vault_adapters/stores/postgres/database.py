"""Runs statements and transactions on Postgres; cancelling a caller cannot interrupt a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar

import psycopg

from vault_adapters.runtime.flights import Flights
from vault_adapters.stores.batching import WRONG_LOOP
from vault_adapters.stores.postgres.connections import Connections
from vault_adapters.stores.postgres.cursors import Connection, Row, VaultCursor
from vault_adapters.stores.postgres.errors import translated
from vault_domain.entities.errors import ConfigurationError

T = TypeVar("T")
Parameters = Mapping[str, Any]

# Name the isolation level each time, because a role, a database or a host may have set another default. Set the
# search path too, because another path could put other operators before those of pg_catalog. SET LOCAL ends with the
# transaction, so neither a host's pool nor a pooler keeps the path.
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL search_path = pg_catalog, pg_temp"


class Transaction:
    """Runs statements in one transaction."""

    def __init__(self, connection: Connection, now: datetime | None, *, prepare: bool) -> None:
        self._connection = connection
        self._prepare = prepare
        self.now = now

    async def execute(self, sql: str, parameters: Parameters | None = None) -> int:
        """Run a statement; return the number of changed rows."""
        cursor = VaultCursor(self._connection)
        await cursor.execute(sql, parameters, prepare=self._prepare, binary=True)
        return cursor.rowcount

    async def fetch(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        """Run a query; return its rows."""
        return await _query(self._connection, sql, parameters, prepare=self._prepare)

    async def fetch_each(self, sql: str, many: Iterable[Parameters]) -> AsyncGenerator[list[Row], None]:
        """Run a query once per set of parameters; yield the rows of each run.

        While the database runs one query, this process builds the parameters of the next query and decodes the rows of
        the previous one; a bulk write spends half of its time on that. Close the generator before you run another
        statement.
        """
        running: asyncio.Task[list[Row]] | None = None
        try:
            for parameters in many:
                rows = None if running is None else await running
                running = asyncio.create_task(self.fetch(sql, parameters))
                await asyncio.sleep(0)  # lets the event loop send the query
                if rows is not None:
                    yield rows
            if running is not None:
                yield await running
        finally:
            if running is not None:
                await asyncio.gather(running, return_exceptions=True)

    async def run_script(self, sql: str) -> None:
        """Run several statements without parameters."""
        await VaultCursor(self._connection).execute(sql)


class Reader:
    """Runs queries on one connection, taken at the first query; each query is a transaction of its own."""

    def __init__(self, connections: Connections, *, prepare: bool) -> None:
        self._connections = connections
        self._prepare = prepare
        self._connection: Connection | None = None

    async def fetch(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        """Run a query; return its rows. If the connection is lost, try once more on another connection."""
        return await translated(self._try_twice(sql, parameters))

    async def _try_twice(self, sql: str, parameters: Parameters | None) -> list[Row]:
        if self._connection is None:
            self._connection = await self._connections.take()
        try:
            return await _query(self._connection, sql, parameters, prepare=self._prepare)
        except psycopg.OperationalError:
            if not self._connection.closed:
                raise
        await self.close()
        self._connection = await self._connections.take(fresh=True)
        return await _query(self._connection, sql, parameters, prepare=self._prepare)

    async def close(self) -> None:
        """Give the connection back to the pool."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._connections.give(connection)


class PostgresDatabase:
    """Runs statements on pooled connections, on the event loop in which this object was created.

    Cancelling a caller does not cancel its statement or transaction.

    Args:
        connections: the source of connections; closed with this object.
        prepare: whether to prepare statements on the server; some poolers do not support it.
        clock: replaces the database's time.
    """

    def __init__(
        self, connections: Connections, *, prepare: bool = True, clock: Callable[[], datetime] | None = None
    ) -> None:
        self._connections = connections
        self._prepare = prepare
        self._clock = clock
        self._flights = Flights()
        self._loop = asyncio.get_running_loop()

    @property
    def most_connections(self) -> int:
        """The largest number of concurrent statements."""
        return self._connections.most

    async def close(self) -> None:
        """Wait for running statements and close the connections."""
        await self._flights.wait()
        await translated(self._connections.close())

    def now(self) -> datetime | None:
        """Return the clock's time; without a clock, return None, which statements replace with the database's time."""
        return None if self._clock is None else self._clock()

    async def fetch(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        """Run a query outside of any transaction; return its rows."""
        self._check_loop()
        return await self._flights.run(self._read(sql, parameters))

    async def write(self, sql: str, parameters: Parameters) -> list[Row]:
        """Run one statement as a transaction of its own; return its rows.

        If the connection is lost, the statement is not repeated, because it may have been committed.
        """
        self._check_loop()
        return await self._flights.run(translated(self._write(sql, parameters)))

    async def transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run ``work`` in a transaction; cancelling the caller does not cancel the transaction."""
        self._check_loop()
        return await self._flights.run(translated(self._transact(work)))

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[Reader]:
        """Give a reader for several queries; use it only in a task that is never cancelled."""
        reader = Reader(self._connections, prepare=self._prepare)
        try:
            yield reader
        finally:
            await translated(reader.close())

    async def _read(self, sql: str, parameters: Parameters | None) -> list[Row]:
        async with self.reader() as reader:
            return await reader.fetch(sql, parameters)

    async def _write(self, sql: str, parameters: Parameters) -> list[Row]:
        connection = await self._connections.take()
        try:
            if self._connections.is_plain(connection):
                return await _query(connection, sql, parameters, prepare=self._prepare)
            return await self._enclosed(connection, lambda transaction: transaction.fetch(sql, parameters))
        finally:
            await self._connections.give(connection)

    async def _transact(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        connection = await self._connections.take()
        try:
            return await self._enclosed(connection, work)
        finally:
            await self._connections.give(connection)

    async def _enclosed(self, connection: Connection, work: Callable[[Transaction], Awaitable[T]]) -> T:
        transaction = Transaction(connection, self.now(), prepare=self._prepare)
        await transaction.run_script(_BEGIN)
        try:
            result = await work(transaction)
            await transaction.run_script("COMMIT")
        except BaseException:
            with suppress(psycopg.Error):  # the server rolls back a lost connection's transaction
                await transaction.run_script("ROLLBACK")
            raise
        return result

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError(WRONG_LOOP, code="wrong_event_loop")


async def _query(connection: Connection, sql: str, parameters: Parameters | None, *, prepare: bool) -> list[Row]:
    cursor = VaultCursor(connection)
    await cursor.execute(sql, parameters, prepare=prepare, binary=True)
    result = cursor.pgresult
    return await cursor.fetchall() if result is not None and result.nfields else []
