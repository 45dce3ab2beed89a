"""Runs statements on one connection, within a limit of time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol

from psycopg.pq.abc import PGresult

from vault_adapters.stores.postgres.callers_connection import CallersConnection
from vault_adapters.stores.postgres.cursors import Connection, Row, VaultCursor
from vault_adapters.stores.postgres.limits import Limits, answered
from vault_adapters.stores.postgres.line import CAN_COMBINE, Encoded, Parameters
from vault_adapters.stores.postgres.own_connection import OwnConnection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MICROSECONDS = (
    "SELECT (extract(epoch FROM pg_catalog.statement_timestamp())::pg_catalog.numeric * 1000000::pg_catalog.numeric)"
    "::pg_catalog.int8"
)


async def query(
    connection: Connection,
    limits: Limits,
    sql: str,
    parameters: Parameters | None,
    *,
    prepare: bool | None,
    then: str | None = None,
) -> list[Row]:
    """Run a statement; return its rows. If ``prepare`` is None, psycopg decides by the settings of the connection.

    See `Line.run` for ``then``; only a connection of which `can_combine` is true takes it.
    """
    if isinstance(connection, OwnConnection):
        line = connection.line
        running = line.run(sql, parameters, prepare=bool(prepare), then=then)
        return line.rows(await answered(connection, limits.answer, running))
    if isinstance(connection, CallersConnection):
        return (await answered(connection, limits.answer, connection.run(sql, parameters)))[0]
    cursor = VaultCursor(connection)
    work = cursor.execute(sql, parameters, prepare=prepare, binary=True)
    await answered(connection, limits.answer, work)
    return await _rows(cursor)


def can_combine(connection: Connection) -> bool:
    """Return whether two statements can be sent at once on this connection."""
    return CAN_COMBINE and isinstance(connection, OwnConnection)


class Query(Protocol):
    """A query whose steps are taken one by one, so that this process can do other work while the server runs it."""

    async def run(self) -> None:
        """Send the query, and wait for its answer."""

    async def sent(self) -> None:
        """Wait until this query, which another task runs, was sent; with a host's pool, until that task has begun."""

    async def rows(self) -> list[Row]:
        """Return the rows of the answer."""


def query_in_steps(connection: Connection, limits: Limits, sql: str, parameters: Parameters, *, prepare: bool) -> Query:
    """Return a query that is ready to run. On a connection of the vault's own pool, its parameters are encoded."""
    if isinstance(connection, OwnConnection):
        return _OwnQuery(connection, limits, connection.line.encoded(sql, parameters), prepare=prepare)
    return _CursorQuery(connection, limits, sql, parameters, prepare=prepare)


class _OwnQuery:
    def __init__(self, connection: OwnConnection, limits: Limits, statement: Encoded, *, prepare: bool) -> None:
        self._connection = connection
        self._limits = limits
        self._statement = statement
        self._prepare = prepare
        self._result: PGresult | None = None

    async def run(self) -> None:
        running = self._connection.line.send(self._statement, prepare=self._prepare)
        self._result = await answered(self._connection, self._limits.answer, running)

    async def sent(self) -> None:
        await asyncio.sleep(0)  # lets the task begin
        await self._connection.line.sent()

    async def rows(self) -> list[Row]:
        return [] if self._result is None else self._connection.line.rows(self._result)


class _CursorQuery:
    def __init__(
        self, connection: Connection, limits: Limits, sql: str, parameters: Parameters, *, prepare: bool
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._cursor = VaultCursor(connection)
        self._statement = partial(self._cursor.execute, sql, parameters, prepare=prepare, binary=True)

    async def run(self) -> None:
        await answered(self._connection, self._limits.answer, self._statement())

    async def sent(self) -> None:
        await asyncio.sleep(0)  # lets the task begin; psycopg does not tell when it has sent the rest

    async def rows(self) -> list[Row]:
        return await _rows(self._cursor)


async def execute(
    connection: Connection, limits: Limits, sql: str, parameters: Parameters | None, *, prepare: bool | None
) -> int:
    """Run a statement; return the number of rows that it changed."""
    if isinstance(connection, OwnConnection):
        running = connection.line.run(sql, parameters, prepare=bool(prepare))
        result = await answered(connection, limits.answer, running)
        return result.command_tuples or 0
    if isinstance(connection, CallersConnection):
        return (await answered(connection, limits.answer, connection.run(sql, parameters)))[1]
    cursor = VaultCursor(connection)
    await answered(connection, limits.answer, cursor.execute(sql, parameters, prepare=prepare, binary=True))
    return cursor.rowcount


async def run_script(connection: Connection, limits: Limits, sql: str) -> None:
    """Run several statements without parameters."""
    if isinstance(connection, OwnConnection):
        await answered(connection, limits.answer, connection.line.run_script(sql))
    else:
        await answered(connection, limits.answer, VaultCursor(connection).execute(sql, prepare=False))


async def query_together(
    connection: Connection, limits: Limits, statements: Sequence[tuple[str, Parameters]], *, prepare: bool
) -> list[list[Row]]:
    """Send several statements at once; return the rows of each.

    The server runs them one after the other, but does not wait for this process between them. If one fails, those after
    it do not run.
    """
    cursors = [VaultCursor(connection) for _ in statements]

    async def work() -> None:
        async with connection.pipeline():
            for cursor, (sql, parameters) in zip(cursors, statements, strict=True):
                await cursor.execute(sql, parameters, prepare=prepare, binary=True)

    await answered(connection, limits.answer, work())
    return [await _rows(cursor) for cursor in cursors]


async def begin_at(connection: Connection, limits: Limits) -> datetime:
    """Begin a transaction and return the server's time, in one round trip."""
    cursor = VaultCursor(connection)
    await answered(connection, limits.answer, cursor.execute(f"{limits.begin}; {_MICROSECONDS}", prepare=False))
    while cursor.nextset():
        pass
    [(micros,)] = await cursor.fetchall()
    return _EPOCH + timedelta(microseconds=micros)


async def _rows(cursor: VaultCursor) -> list[Row]:
    result = cursor.pgresult
    return await cursor.fetchall() if result is not None and result.nfields else []
