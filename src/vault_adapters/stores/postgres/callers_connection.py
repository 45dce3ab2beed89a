"""A connection of a host without an event loop: its statements run in the host's thread."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.pq.abc import PGconn
from psycopg.rows import tuple_row

from vault_adapters.runtime.host_connections import InThread
from vault_adapters.stores.postgres.cursors import ADAPTERS, Row
from vault_adapters.stores.postgres.line import Parameters


class _CallersCursor(psycopg.Cursor[Row]):
    """Does what `VaultCursor` does, on a connection that blocks."""

    __slots__ = ()

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__(connection, row_factory=tuple_row)

    @property
    def adapters(self) -> AdaptersMap:
        return ADAPTERS


class CallersConnection:
    """Has of `psycopg.AsyncConnection` what the store needs, over a `psycopg.Connection`.

    Args:
        connection: the connection.
        call: calls a function in the thread that the connection belongs to.
    """

    def __init__(self, connection: psycopg.Connection[Any], call: InThread[Any]) -> None:
        self._connection = connection
        self._call = call
        self.info = connection.info

    @property
    def pgconn(self) -> PGconn:
        """The connection of libpq."""
        return self._connection.pgconn

    @property
    def closed(self) -> bool:
        """Whether the connection is closed."""
        return self._connection.closed

    @property
    def autocommit(self) -> bool:
        """Whether each statement outside of an explicit transaction commits by itself."""
        return self._connection.autocommit

    async def run(self, sql: str, parameters: Parameters | None) -> tuple[list[Row], int]:
        """Run a statement; return its rows, and the number of rows that it changed."""

        def work() -> tuple[list[Row], int]:
            cursor = _CallersCursor(self._connection)
            cursor.execute(sql, parameters, binary=True)
            return cursor.fetchall() if cursor.description else [], cursor.rowcount

        found: tuple[list[Row], int] = await self._call(work)
        return found

    async def run_script(self, sql: str) -> list[Row]:
        """Run several statements without parameters; return the rows of all of them, with texts for values."""

        def work() -> list[Row]:
            cursor = _CallersCursor(self._connection).execute(sql, prepare=False)
            rows = cursor.fetchall() if cursor.description else []
            while cursor.nextset():
                rows += cursor.fetchall() if cursor.description else []
            return rows

        found: list[Row] = await self._call(work)
        return found

    async def cancel_safe(self, timeout: float) -> None:
        """Do nothing: the host's thread, which waits for the statement, cancels it."""

    async def close(self) -> None:
        """Close the connection."""
        self._connection.close()
