"""Reads on pooled connections; each query is a transaction of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, Self, TypeVar

import psycopg

from vault_adapters.stores.postgres.connections import Connections
from vault_adapters.stores.postgres.cursors import Connection, Row
from vault_adapters.stores.postgres.errors import translated
from vault_adapters.stores.postgres.limits import Limits, OverdueError
from vault_adapters.stores.postgres.line import Parameters
from vault_adapters.stores.postgres.querying import query, query_together

A = TypeVar("A")
T = TypeVar("T")


class Reader:
    """Runs queries on one connection, or on another if callers wait; each query is a transaction of its own.

    Leaving its context gives the connection back. Use it only in a task that is never cancelled. It is a class, because
    an `asynccontextmanager` function would cost each read several microseconds.
    """

    def __init__(self, connections: Connections, limits: Limits, *, prepare: bool) -> None:
        self._connections = connections
        self._limits = limits
        self._prepare = prepare
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await translated(self.close(), self._connections.peer, answers=False)

    async def fetch(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        """Run a query; return its rows. If the connection is lost, try once more on another connection."""
        return await translated(self._try_twice(query, sql, parameters), self._connections.peer, reads=True)

    async def fetch_together(self, statements: Sequence[tuple[str, Parameters]]) -> list[list[Row]]:
        """Send several queries at once; return the rows of each. See `fetch`."""
        return await translated(self._try_twice(query_together, statements), self._connections.peer, reads=True)

    async def _try_twice(self, run: Callable[..., Awaitable[T]], *what: object) -> T:
        if self._connection is None or self._connections.are_wanted:
            await self.close()  # else callers who always read again would keep it from those who wait
            self._connection = await self._connections.take()
        try:
            return await run(self._connection, self._limits, *what, prepare=self._prepare)
        except psycopg.OperationalError as error:
            if not self._connection.closed or isinstance(error, OverdueError):
                raise
        await self.close()
        self._connection = await self._connections.take(fresh=True)
        return await run(self._connection, self._limits, *what, prepare=self._prepare)

    async def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._connections.give(connection)


class ReadSession(Generic[A, T]):
    """A context manager that gives a function for reading batches one after the other, all with one reader.

    Args:
        reader: the reader.
        read: reads one batch with the reader.
    """

    def __init__(self, reader: Reader, read: Callable[[Reader, A], Awaitable[T]]) -> None:
        self._reader = reader
        self._read = read

    async def __aenter__(self) -> Callable[[A], Awaitable[T]]:
        return partial(self._read, self._reader)

    async def __aexit__(self, *_: object) -> None:
        await self._reader.__aexit__()
