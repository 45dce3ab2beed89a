"""Translating the driver's errors at the boundary."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import psycopg_pool

from vault_domain.errors import StorageError

# Serialization failure, deadlock, lock timeout, too many connections, and sessions that the server ended:
# shutdown, crash, start-up, idle timeouts.
_PASSING = {"40001", "40P01", "55P03", "53300", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04"}


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise the driver's errors as `StorageError`, with their SQLSTATE and nothing else of them.

    A server's message and DETAIL may repeat what was sent.
    """
    try:
        yield
    except psycopg.Error as error:
        translated = translate(error)
    else:
        return
    # Raised outside of the handler, so that the driver's error is not its context.
    raise translated from None


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
