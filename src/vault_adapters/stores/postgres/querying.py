"""Runs statements on one connection, within a limit of time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from vault_adapters.stores.postgres.cursors import Connection, Row, VaultCursor
from vault_adapters.stores.postgres.limits import Limits, answered
from vault_adapters.stores.postgres.line import Parameters
from vault_adapters.stores.postgres.own_connection import OwnConnection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MICROSECONDS = "SELECT (extract(epoch FROM pg_catalog.statement_timestamp()) * 1000000)::pg_catalog.int8"


async def query(
    connection: Connection, limits: Limits, sql: str, parameters: Parameters | None, *, prepare: bool
) -> list[Row]:
    """Run a statement; return its rows."""
    if isinstance(connection, OwnConnection):
        line = connection.line
        return line.rows(await answered(connection, limits.answer, line.run(sql, parameters, prepare=prepare)))
    cursor = VaultCursor(connection)
    work = cursor.execute(sql, parameters, prepare=prepare, binary=True)
    await answered(connection, limits.answer, work)
    return await _rows(cursor)


async def execute(
    connection: Connection, limits: Limits, sql: str, parameters: Parameters | None, *, prepare: bool
) -> int:
    """Run a statement; return the number of rows that it changed."""
    if isinstance(connection, OwnConnection):
        running = connection.line.run(sql, parameters, prepare=prepare)
        result = await answered(connection, limits.answer, running)
        return result.command_tuples or 0
    cursor = VaultCursor(connection)
    await answered(connection, limits.answer, cursor.execute(sql, parameters, prepare=prepare, binary=True))
    return cursor.rowcount


async def run_script(connection: Connection, limits: Limits, sql: str) -> None:
    """Run several statements without parameters."""
    if isinstance(connection, OwnConnection):
        await answered(connection, limits.answer, connection.line.run_script(sql))
    else:
        await answered(connection, limits.answer, VaultCursor(connection).execute(sql))


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
    await answered(connection, limits.answer, cursor.execute(f"{limits.begin}; {_MICROSECONDS}"))
    while cursor.nextset():
        pass
    [(micros,)] = await cursor.fetchall()
    return _EPOCH + timedelta(microseconds=micros)


async def _rows(cursor: VaultCursor) -> list[Row]:
    result = cursor.pgresult
    return await cursor.fetchall() if result is not None and result.nfields else []
