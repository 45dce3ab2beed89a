"""The connections of the vault's own pools."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq.abc import PGconn
from psycopg.rows import AsyncRowFactory, tuple_row

from vault_adapters.runtime.forks import OwnProcess
from vault_adapters.stores.postgres.line import Line

T = TypeVar("T")


class OwnConnection(psycopg.AsyncConnection[Any]):
    """A connection. The vault sends most statements on it by a `Line`; the pool sends its own statements by psycopg.

    Attributes:
        line: sends statements.
    """

    def __init__(self, pgconn: PGconn, row_factory: AsyncRowFactory[Any] = tuple_row) -> None:
        super().__init__(pgconn, row_factory)
        self.line = Line(pgconn)
        self._process = OwnProcess()

    async def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
        """Wait as psycopg does; the line stops watching the socket first, because psycopg watches it itself."""
        self.line.release()
        return await super().wait(gen, *args, **options)

    async def close(self) -> None:
        """Close the connection; in a forked child, do nothing, because the server would end the parent's session."""
        if not self._process.is_here:
            return
        self.line.release()
        await super().close()
