"""Runs statements and transactions on Postgres; cancelling a caller cannot interrupt a transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

import psycopg

from vault_adapters.runtime.flights import Flights
from vault_adapters.stores.batching import own_loop
from vault_adapters.stores.postgres.citus_statements import held_parameters
from vault_adapters.stores.postgres.clock_watch import ClockWatch
from vault_adapters.stores.postgres.connections import Connections
from vault_adapters.stores.postgres.cursors import Connection, Row
from vault_adapters.stores.postgres.errors import decisive, translated, unless_undone
from vault_adapters.stores.postgres.limits import DEFAULT_TIMEOUT, Limits, Pace, limits_of
from vault_adapters.stores.postgres.line import Parameters
from vault_adapters.stores.postgres.querying import (
    Query,
    begin_at,
    can_combine,
    execute,
    query,
    query_in_steps,
    run_script,
)
from vault_adapters.stores.postgres.readers import Reader, ReadSession

A = TypeVar("A")
T = TypeVar("T")

_NOT_SUPPORTED = "0A000"
"""The code with which a standby refuses to begin a transaction that may write."""

_NOW = "SELECT statement_timestamp()"


class Transaction:
    """Runs statements in one transaction, each with the same limits."""

    def __init__(
        self,
        connection: Connection,
        now: datetime | None,
        limits: Limits,
        *,
        prepare: bool | None,
        held: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._prepare = prepare
        self._held = held
        self.is_distributed = held is not None
        self.now = now
        self.begun = 0.0  # monotonic time in seconds, before the time `now` was read

    async def execute(self, sql: str, parameters: Parameters | None = None) -> int:
        """Run a statement; return the number of changed rows."""
        if self._held is not None:
            parameters = await self._hold(sql, parameters or {})
        return await execute(self._connection, self._limits, sql, parameters, prepare=self._prepare)

    async def fetch(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        """Run a query; return its rows."""
        if self._held is not None:
            parameters = await self._hold(sql, parameters or {})
        return await query(self._connection, self._limits, sql, parameters, prepare=self._prepare)

    async def both(self, sql: str, parameters: Parameters, then: str | None) -> list[Row]:
        """Run a statement, and then maybe another with the same parameters; return the rows of the first."""
        rows = await self.fetch(sql, parameters)
        if then is not None:
            await self.execute(then, parameters)
        return rows

    async def fetch_unprepared(self, sql: str, parameters: Parameters) -> list[Row]:
        """Run a query without preparing it, so that the server plans it with the values of its parameters."""
        return await query(self._connection, self._limits, sql, parameters, prepare=False)

    @property
    def lock_timeout(self) -> str:
        """The longest wait for a lock, as a setting of the server."""
        return self._limits.lock_timeout

    async def _hold(self, sql: str, parameters: Parameters) -> Parameters:
        """Run the statements that must run before the statement ``sql``, and return the parameters for ``sql``.

        If the parameter ``now`` is None, the transaction's time replaces None. See `PostgresDatabase.distribute`.
        """
        if parameters.get("now", self) is None:
            parameters = {**parameters, "now": self.now}
        for hold in (self._held or {}).get(sql, ()):
            for own in held_parameters(hold, parameters):
                await query(self._connection, self._limits, hold, own, prepare=self._prepare)
        return parameters

    async def fetch_each(
        self, sql: str, many: AsyncIterable[tuple[T, Parameters]]
    ) -> AsyncGenerator[tuple[T, list[Row]], None]:
        """Run a query once per set of parameters; yield the rows of each run.

        While the database runs one query, this process decodes the rows of the previous query and makes the parameters
        of the next. On connections of the vault's own pool, and without Citus, it also encodes these parameters. Close
        the generator before you run another statement.

        Each item of ``many`` is an object of the caller and a set of parameters. The object is yielded with the rows.
        """
        running: asyncio.Task[tuple[T, Query]] | None = None

        async def run(item: T, query: Query) -> tuple[T, Query]:
            await query.run()
            return item, query

        try:
            async for item, parameters in many:
                following = None if self.is_distributed else self._query(sql, parameters)
                done = None if running is None else await running
                if following is None:
                    following = self._query(sql, await self._hold(sql, parameters))
                running = asyncio.create_task(run(item, following))
                await following.sent()
                if done is not None:
                    yield done[0], await done[1].rows()
            if running is not None:
                item, last = await running
                yield item, await last.rows()
        finally:
            if running is not None:
                await asyncio.gather(running, return_exceptions=True)

    def _query(self, sql: str, parameters: Parameters) -> Query:
        return query_in_steps(self._connection, self._limits, sql, parameters, prepare=bool(self._prepare))

    async def run_script(self, sql: str) -> None:
        """Run several statements without parameters."""
        await run_script(self._connection, self._limits, sql)

    async def begin(self) -> None:
        """Begin the transaction.

        Raises:
            psycopg.errors.ReadOnlySqlTransaction: the server is a standby; this method has closed the connection.
        """
        self.begun = time.monotonic()
        try:
            if self._held is None or self.now is not None:
                await self.run_script(self._limits.begin)
            else:
                self.now = await begin_at(self._connection, self._limits)
        except psycopg.Error as error:
            if error.sqlstate != _NOT_SUPPORTED:
                raise
            await self._connection.close()
            raise psycopg.errors.ReadOnlySqlTransaction from None


class PostgresDatabase:
    """Runs statements on pooled connections, on the event loop in which this object was created.

    Cancelling a caller does not cancel its statement or transaction.

    Args:
        connections: the source of connections; closed with this object.
        prepare: whether to prepare statements on the server; some poolers do not support it.
        clock: replaces the database's time.
        timeout: longest time for the answer to a quick statement.
    """

    def __init__(
        self,
        connections: Connections,
        *,
        prepare: bool = True,
        clock: Callable[[], datetime] | None = None,
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> None:
        self._connections = connections
        self._limits = limits_of(timeout)
        self._prepare = prepare
        self._clock = clock
        self._held: Mapping[str, tuple[str, ...]] | None = None
        self.clock_watch = ClockWatch()
        self._flights = Flights()
        self._loop = asyncio.get_running_loop()

    @property
    def most_connections(self) -> int:
        """The largest number of concurrent statements."""
        return self._connections.most

    @property
    def answer_seconds(self) -> float:
        """The longest time in seconds for the answer to a quick statement."""
        return self._limits[Pace.QUICK].answer

    @property
    def is_distributed(self) -> bool:
        """Whether Citus distributes the tables."""
        return self._held is not None

    def distribute(self, held: Mapping[str, tuple[str, ...]]) -> None:
        """Adapt transactions to tables that Citus distributes; see `citus_statements`.

        When a transaction begins, it reads the time. Before some statements, it runs other statements that lock or copy
        rows.

        Args:
            held: maps the SQL of a statement to the SQL of the statements that must run before it in its transaction.
        """
        self._held = held

    async def close(self) -> None:
        """Wait for running statements and close the connections."""
        await self._flights.wait()
        await translated(self._connections.close(), self._connections.peer, answers=False)

    def now(self) -> datetime | None:
        """Return the clock's time; without a clock, return None, which statements replace with the database's time."""
        return None if self._clock is None else self._clock()

    def noticed(self, now: datetime, asked: float) -> tuple[datetime | None, datetime | None]:
        """Return when the last outage ended, and when the database's clock was last set, as this process saw it.

        Args:
            now: the database's time, from the answer to a query that has just ended.
            asked: monotonic time in seconds at which this query began.

        Returns:
            Two times by the database's clock. A time is None if its event did not happen. Both are None if ``clock``
            replaces the database's time.
        """
        if self._clock is not None:
            return None, None
        self.clock_watch.read(now, asked)
        reachable, unset = self._connections.outages.seconds_since_end(), self.clock_watch.seconds_since_step()
        return _before(now, reachable), _before(now, unset)

    async def begin_watching(self) -> None:
        """Read the database's clock for the first time, so that any later step is noticed.

        Otherwise a process that has refreshed nothing yet would not notice a step during another process's refresh.
        """
        if self._clock is None:
            asked = self.clock_watch.monotonic()
            [(now,)] = await self.fetch(_NOW)
            self.clock_watch.read(now, asked)

    async def fetch(self, sql: str, parameters: Parameters | None = None, *, pace: Pace = Pace.QUICK) -> list[Row]:
        """Run a query outside of any transaction; return its rows."""
        return await self.read(lambda reader: reader.fetch(sql, parameters), pace=pace)

    async def read(self, work: Callable[[Reader], Awaitable[T]], *, pace: Pace = Pace.QUICK) -> T:
        """Run ``work``, which runs queries with one reader."""
        own_loop(self._loop)
        return await self._flights.run(self._read(work, pace))

    async def write(
        self, sql: str, parameters: Parameters, *, then: str | None = None, pace: Pace = Pace.QUICK
    ) -> list[Row]:
        """Run one statement as a transaction of its own; return its rows.

        If the connection is lost, the statement is not repeated, because it may have been committed.

        Args:
            sql, parameters: the statement.
            then: another statement of the same transaction, with the same parameters.
            pace: the limits of the statements.
        """
        own_loop(self._loop)
        writing = self._write(sql, parameters, self._limits[pace], then)
        return await self._flights.run(translated(writing, self._connections.peer))

    async def attempt(self, sql: str, parameters: Parameters) -> list[Row] | None:
        """Do what `write` does; return None if the server refused the statement because of a value, a row or a lock."""
        own_loop(self._loop)
        writing = unless_undone(self._write(sql, parameters, self._limits[Pace.QUICK]))
        return await self._flights.run(translated(writing, self._connections.peer))

    async def transact(
        self, work: Callable[[Transaction], Awaitable[T]], *, pace: Pace = Pace.QUICK, hasty: bool = False
    ) -> T:
        """Run ``work`` in a transaction; cancelling the caller does not cancel the transaction.

        Args:
            work: runs statements.
            pace: the limits of the statements.
            hasty: fail at once if the server refuses connections, instead of waiting for it to come back.
        """
        own_loop(self._loop)
        running = self._transact(work, self._limits[pace], hasty=hasty)
        return await self._flights.run(translated(running, self._connections.peer))

    def reader(self, pace: Pace = Pace.QUICK) -> Reader:
        """Return a reader for several queries."""
        return Reader(self._connections, self._limits[pace], prepare=self._prepare)

    def reading(self, read: Callable[[Reader, A], Awaitable[T]]) -> ReadSession[A, T]:
        """Return a context manager that gives the function ``read``, bound to one reader."""
        return ReadSession(self.reader(), read)

    async def _read(self, work: Callable[[Reader], Awaitable[T]], pace: Pace) -> T:
        async with self.reader(pace) as reader:
            return await work(reader)

    async def _write(self, sql: str, parameters: Parameters, limits: Limits, then: str | None = None) -> list[Row]:
        connection = await self._connections.take()
        try:
            is_alone = self._held is None or self._held.get(sql) == ()
            if is_alone and self._connections.is_plain(connection) and (then is None or can_combine(connection)):
                running = query(connection, limits, sql, parameters, prepare=self._prepare, then=then)
                return await decisive(running)
            return await self._enclosed(connection, limits, lambda transaction: transaction.both(sql, parameters, then))
        finally:
            await self._connections.give(connection)

    async def _transact(self, work: Callable[[Transaction], Awaitable[T]], limits: Limits, *, hasty: bool) -> T:
        connection = await self._connections.take(hasty=hasty)
        try:
            return await self._enclosed(connection, limits, work)
        finally:
            await self._connections.give(connection)

    async def _enclosed(self, connection: Connection, limits: Limits, work: Callable[[Transaction], Awaitable[T]]) -> T:
        transaction = Transaction(connection, self.now(), limits, prepare=self._prepare, held=self._held)
        await transaction.begin()
        try:
            result = await work(transaction)
            await decisive(transaction.run_script("COMMIT"))
        except BaseException:
            with suppress(psycopg.Error):  # the server rolls back a lost connection's transaction
                await transaction.run_script("ROLLBACK")
            raise
        return result


def _before(now: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else now - timedelta(seconds=seconds)
