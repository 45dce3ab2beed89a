"""The longest times that the store waits for an answer. A connection that does not answer in time is dropped."""

from __future__ import annotations

import asyncio
import enum
import socket
from collections.abc import Awaitable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

import psycopg
from attrs import frozen

from vault_adapters.stores.postgres.cursors import Connection

T = TypeVar("T")

DEFAULT_TIMEOUT = timedelta(seconds=5)

_LATE_SECONDS = 0.5
"""A timer that is late by more than this shows that this process was frozen. Answers may have arrived meanwhile."""

_GRACE_SECONDS = 1.0
"""Time to read what arrived while this process was frozen."""

_BULK_SECONDS = 600.0
_MIGRATION_SECONDS = 86_400.0


class Pace(enum.Enum):
    """How long the answer to a statement may take."""

    QUICK = enum.auto()
    """The statement reads or writes a few rows: `storage_timeout`."""
    BULK = enum.auto()
    """The statement reads or writes many rows: ten minutes. It waits for a lock no longer than a quick one."""
    MIGRATION = enum.auto()
    """The statement may build an index, or wait for another process that does: a day."""


@frozen
class Limits:
    """Longest times, in seconds.

    Attributes:
        answer: for the answer to a statement; after it, this process drops the connection.
        lock: for one lock; after it, the server ends the statement. It is shorter than ``answer``, so that the
            connection usually survives.
        idle: between two statements of a transaction; after it, the server ends the session, which releases its locks.
            For quick statements it is shorter than ``lock``, so that whoever waits for a process that was stopped still
            gets the lock.
    """

    answer: float
    lock: float
    idle: float

    @property
    def begin(self) -> str:
        """The statements that begin a transaction with these limits.

        The isolation level is named each time, because a role, a database or a host may have set another default. The
        search path too: it could lead to other operators than those of pg_catalog. All settings last for the
        transaction, so that neither a host's pool nor a pooler keeps them.
        """
        return (
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL search_path = pg_catalog, pg_temp; "
            f"SET LOCAL lock_timeout = {_millis(self.lock)}; "
            f"SET LOCAL idle_in_transaction_session_timeout = {_millis(self.idle)}"
        )

    @property
    def options(self) -> str:
        """The server's options for a connection of the vault's own pool; single statements use them."""
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
    """Hangs up a connection when a time has passed."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._due, self._end)
        self.is_over = False

    def cancel(self) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        if self._loop.time() - self._due > _LATE_SECONDS:
            self._due = self._loop.time() + _GRACE_SECONDS
            self._timer = self._loop.call_at(self._due, self._end)
            return
        self.is_over = True
        _hang_up(self._connection)


async def answered(connection: Connection, seconds: float, work: Awaitable[T]) -> T:
    """Await ``work``, which waits for an answer on the connection; drop the connection if none comes in time.

    The driver is not cancelled, because it would first wait for the server to confirm that. Instead its socket is shut
    down, so that the driver at once finds the connection lost, whatever the server, the network and keepalives do.

    A connection on which a standby answers is dropped too, because the next one may lead to the primary.

    Raises:
        OverdueError: no answer came within ``seconds``.
    """
    watch = _Watch(connection, seconds)
    try:
        return await work
    except psycopg.errors.ReadOnlySqlTransaction:
        await connection.close()
        raise
    except psycopg.Error:
        if not watch.is_over:
            raise
    finally:
        watch.cancel()
        if watch.is_over:
            await connection.close()  # sends nothing and waits for nothing
    raise OverdueError("no answer in time")


def _hang_up(connection: Connection) -> None:
    # A duplicate of the descriptor belongs to the same socket. Closing the driver's own descriptor would let another
    # file get its number while the event loop still watches it.
    with (
        suppress(OSError, psycopg.Error),  # the connection is lost already
        socket.fromfd(connection.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM) as same,
    ):
        same.shutdown(socket.SHUT_RDWR)


def _millis(seconds: float) -> int:
    return max(1, round(seconds * 1000))
