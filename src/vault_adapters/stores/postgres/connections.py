"""Takes connections from the vault's or the host's pool, and gives them back with their previous settings."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
import time
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from vault_adapters.runtime.ticks import Ticks
from vault_adapters.stores.postgres.cursors import Connection, VaultCursor
from vault_adapters.stores.postgres.limits import DEFAULT_TIMEOUT, answered
from vault_adapters.stores.postgres.outages import OutageTracker
from vault_adapters.stores.postgres.peer import Peer
from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.measures import PoolCounts

Pool = AsyncConnectionPool[Any]

_CHECK_SECONDS = 2.0
"""Longest time in seconds to check whether a connection can be used."""

_HASTE_SECONDS = 0.2
"""Seconds between two checks of a hasty caller, which waits for a connection, whether the server refuses connections.

A server needs only milliseconds to refuse a connection.
"""

_ENOUGH_TICKS = 8
"""Number of ticks, of the ten of a limit, after which a wait for a connection has really been that long."""

_KEPT_SECONDS = 60.0
"""Once in this many seconds, a connection that is given back goes to the pool, which closes it if it is too old."""

_OLDEST_SERVER = 130_000  # the first version with xid8 and pg_current_xact_id

_CATALOG = re.compile(r"\bpg_catalog\b", re.IGNORECASE)
# In quotes, only the lower-case name means pg_catalog; without quotes, any case does.
_CATALOG_FIRST = re.compile(r"""\s*(?:"pg_catalog"|(?i:pg_catalog))\s*(?:,|\Z)""")

_SETTINGS = """
SELECT pg_catalog.current_setting('default_transaction_isolation'),
    pg_catalog.current_setting('default_transaction_read_only'), pg_catalog.current_setting('search_path')
"""


class Connections:
    """Takes connections from an open pool.

    A pool with several connections hands them out in turn. So each statement runs in a process of the server that has
    slept, and the data of this process has left the processor's cache. Therefore, a connection of the vault's own pool
    stays at hand for the next statement when it is given back, unless a caller waits for the pool.

    Args:
        pool: the vault's pool, or the host's, whose connections may have settings other than the vault's.
        peer: the database, as errors name it; with a host's pool, the name comes from the first connection.
        is_ours: whether the pool is the vault's; only then, `close` closes it.
        timeout: longest time to wait for a free connection, and for the server while a connection is given back.
    """

    def __init__(self, pool: Pool, peer: Peer, *, is_ours: bool, timeout: timedelta = DEFAULT_TIMEOUT) -> None:
        self._pool = pool
        self.peer = peer
        self._is_ours = is_ours
        self._seconds = timeout.total_seconds()
        self._plain: WeakKeyDictionary[Connection, bool] = WeakKeyDictionary()
        self._manual: WeakSet[Connection] = WeakSet()
        self._used_at: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()
        self._lost_at = -math.inf
        self._at_hand: Connection | None = None
        self._kept_until = -math.inf
        self._asking = 0  # callers that ask the pool for a connection
        self._ticks = Ticks(self._seconds, lambda: None, lambda: self._asking > 0, most_at_once=1)
        self._is_closing = False
        self._refused = self._refusals()
        self.outages = OutageTracker()

    @property
    def most(self) -> int:
        """The largest number of connections of the pool."""
        return self._pool.max_size

    @property
    def are_wanted(self) -> bool:
        """Whether a caller waits for a connection; with a host's pool, this includes the host's own code."""
        return self._asking > 0 or (not self._is_ours and self._pool.get_stats().get("requests_waiting", 0) > 0)

    def counts(self) -> PoolCounts:
        """Return the state of the pool; a host's pool also counts the host's own use."""
        stats = self._pool.get_stats()
        size = stats.get("pool_size", 0)
        return PoolCounts(
            open=size,
            idle=stats.get("pool_available", 0) + (self._at_hand is not None),
            most=stats.get("pool_max", size),
            waiting=stats.get("requests_waiting", 0),
            waits=stats.get("requests_queued", 0),
            waited=timedelta(milliseconds=stats.get("requests_wait_ms", 0)),
            timeouts=stats.get("requests_errors", 0),
        )

    async def take(self, *, fresh: bool = False, hasty: bool = False) -> Connection:
        """Return a connection in autocommit mode, outside of any transaction; the caller gives it back with `give`.

        After a connection was lost, a connection that was not used since then is first checked with a query. The reason
        is that a pool may hold only dead connections after a restart of the server.

        Args:
            fresh: check the connection with a query in any case.
            hasty: raise an error as soon as it is known that the server refuses connections.
        """
        end = time.monotonic() + self._seconds
        while (left := end - time.monotonic()) > 0:
            connection, self._at_hand = self._at_hand, None
            if connection is None:
                connection = await self._get(left, hasty=hasty)
            is_known = connection in self._plain
            is_suspect = fresh or (is_known and self._used_at.get(connection, math.inf) < self._lost_at)
            self._used_at[connection] = time.monotonic()
            if is_known and self._is_ours and not is_suspect:
                return connection
            if await self._is_fit(connection, fresh=is_suspect):
                return connection
        raise psycopg.OperationalError("the pool gives dead connections only")

    async def give(self, connection: Connection) -> None:
        """Take a connection back, with the settings that it had before: keep it at hand, or give it to the pool."""
        if connection.closed:
            self._lost_at = time.monotonic()
            self.outages.failed(self._used_at.get(connection, self._lost_at))
        else:
            self._used_at[connection] = time.monotonic()
            self.outages.worked()
        if connection in self._manual:
            self._manual.discard(connection)
            await _restore(connection)
        if self._is_ours and connection.pgconn.transaction_status == TransactionStatus.IDLE:
            if not self._keep(connection):
                await self._pool.putconn(connection)  # asks the server nothing
        else:
            # The pool rolls back a transaction that was left open, and a host's pool may reset the connection. The pool
            # would wait for the server's answer without a limit.
            await answered(connection, self._seconds, self._pool.putconn(connection))

    async def connect_apart(self, seconds: float) -> Connection:
        """Open a connection with the pool's parameters, in autocommit mode, that does not belong to the pool.

        Args:
            seconds: longest time to connect; it is raised to `_CHECK_SECONDS` if it is shorter.
        """
        conninfo, kwargs = await _plain_value(self._pool.conninfo), await _plain_value(self._pool.kwargs)
        connecting = self._pool.connection_class.connect(conninfo, **{**(kwargs or {}), "autocommit": True})
        async with asyncio.timeout(max(seconds, _CHECK_SECONDS)):
            connection: Connection = await connecting
        return connection

    def is_plain(self, connection: Connection) -> bool:
        """Return whether a statement outside of a transaction on this connection runs READ COMMITTED and may write."""
        return self._plain.get(connection, True)

    async def close(self) -> None:
        """Close the pool if it is the vault's own."""
        self._is_closing = True
        connection, self._at_hand = self._at_hand, None
        if connection is not None:
            await self._pool.putconn(connection)
        if self._is_ours:
            await self._pool.close()

    def _keep(self, connection: Connection) -> bool:
        """Keep a connection at hand; return False if it must go back to the pool."""
        if self._at_hand is not None or self._asking or self._is_closing:
            return False
        now = self._used_at[connection]
        if now >= self._kept_until:  # the pool gets this connection, and the next one is kept
            self._kept_until = now + _KEPT_SECONDS
            return False
        self._at_hand = connection
        return True

    async def _get(self, seconds: float, *, hasty: bool) -> Connection:
        began, tick = time.monotonic(), self._ticks.number
        self._asking += 1
        if not self._ticks.is_running:
            self._ticks.begin()
        try:
            while True:
                getting = self._pool.getconn(seconds)
                try:
                    connection: Connection = await (self._unless_refused(getting) if hasty else getting)
                    break
                except PoolTimeout:
                    # The pool also counts the time in which the event loop lagged, and nobody could give back.
                    if self.peer.refusal is not None or self._ticks.number - tick >= _ENOUGH_TICKS:
                        raise
        except PoolTimeout:
            refusals = self._refusals()
            if refusals != self._refused:  # an attempt to connect failed; else, all connections were in use
                self._refused = refusals
                self.outages.failed(began)
            raise
        finally:
            self._asking -= 1
        return connection

    async def _unless_refused(self, getting: Coroutine[Any, Any, Connection]) -> Connection:
        """Wait in the pool's queue for a connection; leave the queue if the server refuses connections.

        The pool is asked only once, because a further call would wait behind all other callers.

        Raises:
            PoolTimeout: the server refuses connections, or no connection came in time.
        """
        task = asyncio.ensure_future(getting)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=_HASTE_SECONDS)
                if self.peer.refusal is not None:
                    task.cancel()  # this changes nothing if the pool has given a connection meanwhile
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is None:
                await self._pool.putconn(task.result())
            raise
        if task.cancelled():
            raise PoolTimeout("the server refuses connections")
        return task.result()

    def _refusals(self) -> int:
        return self._pool.get_stats().get("connections_errors", 0)

    async def _is_fit(self, connection: Connection, *, fresh: bool) -> bool:
        """Prepare a connection; return False if it is dead.

        This method gives a dead connection back, so that the pool drops it.
        """
        try:
            await answered(connection, min(self._seconds, _CHECK_SECONDS), self._adopt(connection, fresh=fresh))
        except BaseException as error:
            await self.give(connection)
            if isinstance(error, psycopg.OperationalError) and connection.closed:
                return False
            raise
        return True

    async def _adopt(self, connection: Connection, *, fresh: bool) -> None:
        """Switch a host's connection to autocommit until it is given back, and check its properties once.

        Args:
            connection: the connection.
            fresh: whether to check with a query that the connection still works.
        """
        if connection.closed:
            raise psycopg.OperationalError("the connection is closed")
        if connection.pgconn.transaction_status != TransactionStatus.IDLE:
            raise ConfigurationError("the pool handed out a connection that is inside a transaction", code="host_pool")
        if not connection.autocommit:
            # Autocommit is a setting of the client only; changing it sends nothing to the server.
            await connection.set_autocommit(True)
            self._manual.add(connection)
        if connection not in self._plain:
            refuse_unfit(connection)
            cursor = await VaultCursor(connection).execute(_SETTINGS)
            [(isolation, read_only, search_path)] = await cursor.fetchall()
            _refuse_foreign_operators(search_path)
            self.peer.met(connection)
            self._plain[connection] = (isolation, read_only) == ("read committed", "off")
        elif fresh:
            await VaultCursor(connection).execute("SELECT 1")


async def _plain_value(value: Any) -> Any:
    """Return the value of a pool's parameter; if the parameter is a function, return the function's result."""
    value = value() if callable(value) else value
    return await value if inspect.isawaitable(value) else value


async def _restore(connection: Connection) -> None:
    try:
        await connection.set_autocommit(False)
    except psycopg.Error:
        # A statement is still running, so the setting cannot be restored; the host must not get this connection back.
        await connection.close()


def _refuse_foreign_operators(search_path: str) -> None:
    """Refuse a search path on which another schema comes before pg_catalog.

    That schema's operators would replace the built-in ones: with an ``=`` that is always true, a query for one tenant
    finds another tenant's row. If the path does not name pg_catalog, Postgres searches pg_catalog first.
    """
    if _CATALOG.search(search_path) and not _CATALOG_FIRST.match(search_path):
        raise ConfigurationError(
            "the connection's search_path must not name a schema before pg_catalog", code="search_path"
        )


def refuse_unfit(connection: Connection) -> None:
    """Refuse a connection to a server that is too old, or with another client encoding than UTF-8."""
    if connection.info.server_version < _OLDEST_SERVER:
        raise ConfigurationError("PostgreSQL 13 or newer is needed", code="server_too_old")
    if connection.info.encoding != "utf-8":
        raise ConfigurationError("connections must use the client encoding UTF8", code="client_encoding")
