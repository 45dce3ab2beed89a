"""The connection of a host: finds the driver's connection behind it, and says in which thread it is used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from attrs import frozen

from vault_domain.entities.errors import HostTransactionError

T = TypeVar("T")

InThread = Callable[[Callable[[], T]], Awaitable[T]]
"""Calls a function in the thread that the connection belongs to."""


@frozen
class HostConnection:
    """A connection of a host's driver.

    Attributes:
        driver: the connection of psycopg, aiosqlite or sqlite3.
        call: calls a function in the host's thread; None for a connection that is used on the event loop.
    """

    driver: Any
    call: InThread[Any] | None = None


async def opened(connection: object) -> HostConnection:
    """Return the driver's connection of an asynchronous host; a `HostConnection` is returned as it is."""
    if isinstance(connection, HostConnection):
        return connection
    found: Any = connection
    if hasattr(found, "sync_session"):  # SQLAlchemy's AsyncSession; its `connection` begins the transaction
        found = await found.connection()
    if hasattr(found, "get_raw_connection"):  # SQLAlchemy's AsyncConnection
        if not found.in_transaction():
            await found.begin()  # as its `execute` would
        found = (await found.get_raw_connection()).driver_connection
    return HostConnection(found)


def opened_here(connection: object) -> Any:
    """Return the driver's connection of a host without an event loop; call this in the host's thread.

    Raises:
        HostTransactionError: Django's connection is outside of ``atomic``, or its transaction has failed.
    """
    found: Any = connection
    if hasattr(found, "in_atomic_block"):  # Django
        if not found.in_atomic_block:
            raise no_transaction()
        if found.needs_rollback:
            raise failed_transaction()
        found.ensure_connection()
        return found.connection
    if hasattr(found, "sync_session") or hasattr(found, "get_raw_connection"):
        return found  # asynchronous ones of SQLAlchemy, which the store refuses
    if hasattr(found, "get_bind"):  # SQLAlchemy's Session; its `connection` begins the transaction
        found = found.connection()
    if hasattr(found, "exec_driver_sql"):  # SQLAlchemy's Connection
        if not found.in_transaction():
            found.begin()  # as its `execute` would
        found = found.connection.driver_connection
    return found


def no_transaction() -> HostTransactionError:
    """Return the error for a connection that commits each statement by itself."""
    return HostTransactionError("the connection is in no transaction: begin one first", reason="no_transaction")


def failed_transaction() -> HostTransactionError:
    """Return the error for a transaction that can only be rolled back."""
    return HostTransactionError("the host's transaction has failed: roll it back first", reason="failed_transaction")


def wrong_connection(wanted: str) -> HostTransactionError:
    """Return the error for an object that is no connection to the vault's kind of database; ``wanted`` names some."""
    return HostTransactionError(f"the connection must be one of {wanted}", reason="connection")


def other_database() -> HostTransactionError:
    """Return the error for a connection to another database than the vault's."""
    return HostTransactionError(
        "the connection is to another database than the vault's: both must be one database", reason="other_database"
    )


def busy_connection() -> HostTransactionError:
    """Return the error for a connection on which something else runs."""
    return HostTransactionError(
        "something else runs on the connection: call the vault when it is done", reason="busy_connection"
    )


def unfit_store(why: str) -> HostTransactionError:
    """Return the error for a store that has no host's transactions."""
    return HostTransactionError(why, reason="store")
