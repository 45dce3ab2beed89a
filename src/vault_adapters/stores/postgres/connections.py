"""Connections: a pool of our own or the host's, checked out one at a time and given back as they were."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from vault_adapters.stores.postgres.cursors import Connection, VaultCursor
from vault_domain.entities.errors import ConfigurationError

Pool = AsyncConnectionPool[Any]

PATIENCE_SECONDS = 10.0
"""How long to try to reach the server, and how long to wait for a connection to become free."""

_OLDEST_SERVER = 130_000  # xid8 and pg_current_xact_id

_DEFAULTS = """
SELECT current_setting('default_transaction_isolation'), current_setting('default_transaction_read_only')
"""


class Connections:
    """Checks connections out of an open pool.

    Args:
        pool: ours, or the host's, whose connections may be configured in any way.
        is_ours: whether `close` closes it.
    """

    def __init__(self, pool: Pool, *, is_ours: bool) -> None:
        self._pool = pool
        self._is_ours = is_ours
        self._plain: WeakKeyDictionary[Connection, bool] = WeakKeyDictionary()
        self._manual: WeakSet[Connection] = WeakSet()

    @property
    def most(self) -> int:
        """How many connections there are at most."""
        return self._pool.max_size

    async def take(self, *, fresh: bool = False) -> Connection:
        """Return a connection in autocommit mode, outside of any transaction; `give` it back.

        Args:
            fresh: one that answers: after a restart of the server a pool may hold nothing but dead ones.
        """
        for _ in range(self.most):
            connection: Connection = await self._pool.getconn(PATIENCE_SECONDS)
            if connection in self._plain and self._is_ours and not fresh:
                return connection
            if await self._is_fit(connection, fresh=fresh):
                return connection
        raise psycopg.OperationalError("the pool gives dead connections only")

    async def give(self, connection: Connection) -> None:
        """Give a connection back as it was."""
        if connection in self._manual:
            self._manual.discard(connection)
            await _restore(connection)
        await self._pool.putconn(connection)

    def is_plain(self, connection: Connection) -> bool:
        """Whether a lone statement on it runs READ COMMITTED and may write."""
        return self._plain.get(connection, True)

    async def close(self) -> None:
        """Close the pool, if it is ours."""
        if self._is_ours:
            await self._pool.close()

    async def _is_fit(self, connection: Connection, *, fresh: bool) -> bool:
        """Prepare a connection for us; give it back where it turns out to be dead: a pool does not keep those."""
        try:
            await self._adopt(connection)
            if fresh:
                await VaultCursor(connection).execute("SELECT 1")
        except BaseException as error:
            await self.give(connection)
            if isinstance(error, psycopg.OperationalError) and connection.closed:
                return False
            raise
        return True

    async def _adopt(self, connection: Connection) -> None:
        """Switch a host's connection to autocommit while we have it, and look at it once."""
        if connection.closed:
            raise psycopg.OperationalError("the connection is closed")
        if connection.pgconn.transaction_status != TransactionStatus.IDLE:
            raise ConfigurationError("the pool handed out a connection that is inside a transaction", code="host_pool")
        if not connection.autocommit:
            # Known to this process only: nothing is sent to the server for it.
            await connection.set_autocommit(True)
            self._manual.add(connection)
        if connection not in self._plain:
            _refuse_unfit(connection)
            cursor = await VaultCursor(connection).execute(_DEFAULTS)
            self._plain[connection] = await cursor.fetchone() == ("read committed", "off")


async def _restore(connection: Connection) -> None:
    try:
        await connection.set_autocommit(False)
    except psycopg.Error:
        # It is in the middle of something: the host must not get it back with another setting than its own.
        await connection.close()


def _refuse_unfit(connection: Connection) -> None:
    if connection.info.server_version < _OLDEST_SERVER:
        raise ConfigurationError("PostgreSQL 13 or newer is needed", code="server_too_old")
    if connection.info.encoding != "utf-8":
        raise ConfigurationError("connections must use the client encoding UTF8", code="client_encoding")
