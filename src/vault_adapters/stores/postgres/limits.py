"""The longest times that the store waits for an answer. A connection that does not answer in time is dropped."""

from __future__ import annotations

import asyncio
import enum
import socket
from collections.abc import Awaitable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar
from weakref import WeakKeyDictionary

import psycopg
from attrs import frozen
from psycopg.pq import TransactionStatus

from vault_adapters.runtime.time_limit import MORE, OVERSLEPT
from vault_adapters.stores.postgres.cursors import Connection

T = TypeVar("T")

DEFAULT_TIMEOUT = timedelta(seconds=5)

_MOST_GRACES = 5
"""A statement gets more time after a late timer at most this often, so that it ends even if the event loop is always
late."""

_KEPT_SECONDS = 60.0
"""If the limit of a statement is at most this many seconds, the connection's next statement takes over the timer.

A statement with a longer limit cancels its timer when it ends.
"""

_CANCEL_SECONDS = 5.0
"""Longest time to ask the server to cancel a statement whose caller was cancelled."""

_BULK_SECONDS = 600.0
_MIGRATION_SECONDS = 86_400.0


class Pace(enum.Enum):
    """How long the answer to a statement may take."""

    QUICK = enum.auto()
    """The statement reads or writes a few rows: `storage_timeout`."""
    BULK = enum.auto()
    """The statement reads or writes many rows: ten minutes, or `storage_timeout` if that is longer.

    For a lock, it waits no longer than a quick statement.
    """
    MIGRATION = enum.auto()
    """The statement may build an index, or wait for another process that does: a day."""


@frozen
class Limits:
    """Longest times, in seconds.

    Attributes:
        answer: for the answer to a statement; after this time, this process drops the connection.
        lock: for one lock; after this time, the server ends the statement. Except for migrations, it is shorter than
            ``answer``, so that the connection usually survives.
        idle: between two statements of a transaction; after this time, the server ends the session, which releases its
            locks. For quick statements it is shorter than ``lock``, so that a process that waits for a lock of a
            stopped process still gets the lock.
    """

    answer: float
    lock: float
    idle: float

    @property
    def begin(self) -> str:
        """The statements that begin a transaction with these limits.

        They set the isolation level, because a role, a database or a host may have set another default. They set the
        search path, because another path could lead to other operators than those of pg_catalog. All settings last for
        the transaction, so that neither a host's pool nor a pooler keeps them. The server ends a statement a little
        before this process would drop the connection, so that the statement does not go on in vain.
        """
        return (
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL search_path = pg_catalog, pg_temp; "
            f"SET LOCAL lock_timeout = {_millis(self.lock)}; "
            f"SET LOCAL statement_timeout = {_millis(self.answer * 0.9)}; "
            f"SET LOCAL idle_in_transaction_session_timeout = {_millis(self.idle)}"
        )

    @property
    def lock_timeout(self) -> str:
        """The longest wait for one lock, as a setting of the server."""
        return f"{_millis(self.lock)}ms"

    @property
    def options(self) -> str:
        """The options with which the vault's own pool connects. They limit waits for locks outside of a transaction."""
        return f"-c lock_timeout={_millis(self.lock)}"


def limits_of(timeout: timedelta) -> dict[Pace, Limits]:
    """Return the limits of each pace for a `storage_timeout`."""
    answer = timeout.total_seconds()
    lock, idle = answer * 0.8, answer * 0.5
    return {
        Pace.QUICK: Limits(answer, lock, idle),
        Pace.BULK: Limits(max(answer, _BULK_SECONDS), lock, lock),
        Pace.MIGRATION: Limits(_MIGRATION_SECONDS, _MIGRATION_SECONDS, max(idle, 60.0)),
    }


class OverdueError(psycopg.OperationalError):
    """The database did not answer in time, so the connection was dropped."""


class _Watch:
    """Shuts down a connection's socket when the time of its statement has passed.

    One timer serves all statements of a connection, because a timer for each statement would fill the event loop's
    heap, and most of these timers would be cancelled. The one timer is set again when it rings, or for a statement
    whose time ends before it rings.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._connection: Connection | None = None
        self._due, self._is_long = 0.0, False
        self._graces = 0
        self.is_over = False

    @property
    def is_running(self) -> bool:
        """Whether a statement is being watched."""
        return self._connection is not None

    def begin(self, connection: Connection, seconds: float) -> None:
        self._connection, self.is_over, self._graces = connection, False, 0
        self._due = self.loop.time() + seconds
        self._is_long = seconds > _KEPT_SECONDS
        if self._timer is not None and self._timer.when() > self._due:
            self._cancel()
        if self._timer is None:
            self._timer = self.loop.call_at(self._due, self._ring)

    def end(self) -> None:
        self._connection = None
        if self._is_long:
            self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        if self._connection is None:
            return
        late = self.loop.time() - self._due
        if late > OVERSLEPT and self._graces < _MOST_GRACES:
            self._graces += 1
            self._due = self.loop.time() + MORE
        elif late >= 0:
            self.is_over = True
            _hang_up(self._connection)
            return
        self._timer = self.loop.call_at(self._due, self._ring)


_watches: WeakKeyDictionary[Connection, _Watch] = WeakKeyDictionary()


def _watch(connection: Connection) -> _Watch:
    """Return the connection's watch, or a new watch if the old one is in use or belongs to another event loop."""
    found = _watches.get(connection)
    if found is None or found.is_running or found.loop is not asyncio.get_running_loop():
        found = _watches[connection] = _Watch()
    return found


async def answered(connection: Connection, seconds: float, work: Awaitable[T]) -> T:
    """Await ``work``, which waits for an answer on the connection; drop the connection if none comes in time.

    The driver is not cancelled, because it would first wait until the server confirms the cancellation. Instead its
    socket is shut down, so that the driver at once finds the connection lost, whatever the server, the network and
    keepalives do.

    A connection on which a standby refuses a write is dropped too, because the next connection may lead to the primary.

    Raises:
        OverdueError: no answer came within ``seconds``.
    """
    watch = _watch(connection)
    watch.begin(connection, seconds)
    try:
        return await work
    except psycopg.errors.ReadOnlySqlTransaction:
        await connection.close()
        raise
    except psycopg.Error:
        if not watch.is_over:
            raise
    except asyncio.CancelledError:
        await _abandon(connection)
        raise
    finally:
        watch.end()
        if watch.is_over:
            await connection.close()  # sends nothing and waits for nothing
    raise OverdueError("no answer in time")


async def _abandon(connection: Connection) -> None:
    """Cancel a running statement and drop its connection.

    A statement that goes on although nobody waits for it could hold its locks for long.
    """
    if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
        try:
            with suppress(psycopg.Error):
                await connection.cancel_safe(timeout=_CANCEL_SECONDS)
        finally:
            await connection.close()


def _hang_up(connection: Connection) -> None:
    # Shut the socket down through a duplicate of its descriptor, and close only the duplicate. Closing the driver's own
    # descriptor would let another file get that descriptor's number while the event loop still watches the number.
    with (
        suppress(OSError, psycopg.Error),  # the connection is lost already
        socket.fromfd(connection.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM) as same,
    ):
        same.shutdown(socket.SHUT_RDWR)


def _millis(seconds: float) -> int:
    return max(1, round(seconds * 1000))
