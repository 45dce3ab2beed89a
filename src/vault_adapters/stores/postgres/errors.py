"""Translating the driver's errors at the boundary."""

from collections.abc import Awaitable
from typing import TypeVar

import psycopg
import psycopg_pool

from vault_domain.entities.errors import StorageError

T = TypeVar("T")

# Serialization failure, deadlock, lock timeout, too many connections, and sessions that the server ended:
# shutdown, crash, start-up, idle timeouts.
_PASSING = {"40001", "40P01", "55P03", "53300", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04"}


async def translated(work: Awaitable[T]) -> T:
    """Await ``work`` and raise the driver's errors as `StorageError`, with their SQLSTATE and nothing else of them.

    A server's message and DETAIL may repeat what was sent. This is no context manager, since what one raises in
    place of an error keeps that as its context.
    """
    try:
        return await work
    except psycopg.Error as error:
        translation = translate(error)
    raise translation


def translate(error: psycopg.Error) -> StorageError:
    """Return what the vault raises for a driver's error."""
    name, retryable = _describe(error)
    message = f"the Postgres database could not do this ({name})"
    return StorageError(message, retryable=retryable, reason=error.sqlstate)


def _describe(error: psycopg.Error) -> tuple[str, bool]:
    if error.sqlstate is not None:
        # Class 08 are connection exceptions, those of poolers included.
        return error.sqlstate, error.sqlstate in _PASSING or error.sqlstate.startswith("08")
    if isinstance(error, psycopg_pool.PoolClosed):
        return "closed", False
    if isinstance(error, psycopg_pool.PoolTimeout | psycopg_pool.TooManyRequests):
        return "no connection became free in time", True
    if isinstance(error, psycopg.OperationalError):
        # libpq gives no code for a connection that cannot be made, or that is gone.
        return "no connection", True
    return type(error).__name__, False
