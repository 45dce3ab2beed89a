"""Listens to the notifications of other processes, on a connection of its own."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import psycopg

from vault_adapters.stores.postgres.connections import Connections
from vault_adapters.stores.postgres.cursors import Connection, Row, VaultCursor
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.limits import answered
from vault_adapters.stores.postgres.notifying import channel_of, lock_of, mark_of, mark_of_tenant
from vault_domain.entities.account import TokenKey
from vault_domain.ports.change_watch import ChangeHearer

_log = logging.getLogger(__name__)

_HEARTBEAT_SECONDS = 5.0
"""Seconds between two checks whether the connection is alive."""

_PROBE_SECONDS = 5.0
"""Longest time to wait for the probe, a notification that this process sends to itself."""

_PROBE_PAUSE = 0.05

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
"""Shortest and longest time in seconds between two attempts to listen."""

_POOLER_PAUSE = 600.0
"""Seconds between two attempts if notifications do not come through, as behind a pooler in transaction mode."""

_POOLER = "notifications do not come through, as behind a pooler in transaction mode"

_BARRIER_PAUSE = 0.2
"""Seconds between two checks whether older transactions have ended; see `NotificationWatch._announce`."""

_SNAPSHOT = """
SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::pg_catalog.int8,
    pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::pg_catalog.int8
"""


class _NotHeardError(Exception):
    """Notifications do not come through to this connection."""


class NotificationWatch:
    """Implements `ChangeWatch`.

    Args:
        connections: opens the connection to listen on.
        database: sends the probe, on another connection.
        schema: the vault's schema.
        hearer: is told about changes.
        seconds: longest time for an answer of the server.
    """

    def __init__(
        self, connections: Connections, database: PostgresDatabase, schema: str, hearer: ChangeHearer, seconds: float
    ) -> None:
        self._connections = connections
        self._database = database
        self._channel = channel_of(schema)
        self._lock = lock_of(schema)
        self._hearer = hearer
        self._seconds = seconds
        self._is_current = False
        self._probes: set[str] = set()
        self._has_listened = False

    def is_current(self) -> bool:
        """See `ChangeWatch`."""
        return self._is_current

    def mark(self, key: TokenKey) -> str:
        """See `ChangeWatch`."""
        return mark_of(key)

    async def run(self) -> None:
        """Listen until the task is cancelled; if the connection is lost, listen on a new one."""
        pause, said = _FIRST_PAUSE, ""
        while True:
            self._has_listened = False
            problem, longest = _POOLER, _POOLER_PAUSE
            try:
                await self._listen_once()
            except _NotHeardError:
                pause = _POOLER_PAUSE
            except Exception as error:  # listen again after any error
                problem, longest = f"the connection for notifications was lost ({type(error).__name__})", _LONGEST_PAUSE
            if self._has_listened:
                pause, said = _FIRST_PAUSE, ""
            if problem != said:
                _log.warning("tokens are cached for a second at most, because %s", problem)
                said = problem
            pause = min(pause, longest)
            await asyncio.sleep(pause)
            pause *= 2

    async def _listen_once(self) -> None:
        connection = await self._connections.connect_apart(self._seconds)
        try:
            await self._execute(connection, f'LISTEN "{self._channel}"')
            await self._probe(connection)
            await self._announce(connection)
            self._hearer.anything_changed()
            self._is_current = self._has_listened = True
            _log.info("listening to the changes of other processes")
            while True:
                await self._hear(connection, _HEARTBEAT_SECONDS)
                await self._execute(connection, "SELECT 1")
        finally:
            self._is_current = False
            with suppress(psycopg.Error):
                await connection.close()

    async def _probe(self, connection: Connection) -> None:
        """Send a notification on another connection, and wait until it comes."""
        probe = f"p{secrets.token_hex(8)}"
        await self._database.fetch("SELECT pg_catalog.pg_notify(%(channel)b, %(text)b)", self._text(probe))
        loop = asyncio.get_running_loop()
        end = loop.time() + min(_PROBE_SECONDS, self._seconds)
        while probe not in self._probes:
            if loop.time() > end:
                raise _NotHeardError
            await self._hear(connection, _PROBE_PAUSE)
        self._probes.clear()

    def _text(self, text: str) -> dict[str, str]:
        return {"channel": self._channel, "text": text}

    async def _announce(self, connection: Connection) -> None:
        """Take the listeners' lock, so that writers notify, and wait until all older transactions have ended.

        An older transaction may have found the lock free, and then it does not notify.
        """
        first, second = self._lock
        lock = f"SELECT pg_catalog.pg_try_advisory_lock_shared({first}, {second})"
        # To check whether anybody listens, a writer takes this lock for a microsecond. Meanwhile, the query returns
        # false.
        while await self._execute(connection, lock) != [(True,)]:  # noqa: ASYNC110 - no event tells when it is free
            await asyncio.sleep(_PROBE_PAUSE)
        _, end = await self._snapshot(connection)
        while (await self._snapshot(connection))[0] < end:
            await self._hear(connection, _BARRIER_PAUSE)

    async def _snapshot(self, connection: Connection) -> tuple[int, int]:
        """Return the number of the oldest running transaction, and the number that the next transaction will get."""
        [(oldest, following)] = await self._execute(connection, _SNAPSHOT)
        return oldest, following

    async def _execute(self, connection: Connection, sql: str) -> list[Row]:
        cursor = VaultCursor(connection)
        await answered(connection, self._seconds, cursor.execute(sql))
        return await cursor.fetchall() if cursor.description else []

    async def _hear(self, connection: Connection, seconds: float) -> None:
        """Pass on the notifications that come within ``seconds``."""
        async for notification in connection.notifies(timeout=seconds):
            if notification.channel == self._channel:
                self._pass_on(notification.payload)

    def _pass_on(self, text: str) -> None:
        for item in text.split(","):
            kind, mark = item[:1], item[1:7]
            if kind == "k":
                self._hearer.row_changed(mark, item[7:])
            elif kind == "t":
                self._hearer.tenants_changed(partial(_has_mark, mark))
            elif kind == "p":
                self._probes.add(item)
            else:
                self._hearer.anything_changed()


class DeafWatch(NotificationWatch):
    """A watch of tables that Citus distributes: no writer notifies, so it is never current."""

    async def run(self) -> None:
        """Wait until the task is cancelled."""
        _log.warning("tokens are cached for a second at most, because Citus distributes the tables")
        await asyncio.Event().wait()


def _has_mark(mark: str, tenant_id: str) -> bool:
    return mark_of_tenant(tenant_id) == mark


@asynccontextmanager
async def listening(watch: NotificationWatch) -> AsyncIterator[None]:
    """Listen while the block runs."""
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
