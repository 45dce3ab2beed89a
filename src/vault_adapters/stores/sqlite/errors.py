"""Translating the driver's errors at the boundary."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from vault_domain.entities.errors import StorageError

# Another process holds the file's one write lock, or the schema changed under a statement.
_PASSING = {"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_BUSY_SNAPSHOT", "SQLITE_BUSY_TIMEOUT", "SQLITE_SCHEMA"}


# What aiosqlite says, as a ValueError, of a connection that was closed.
_CLOSED = {"no active connection", "Connection closed"}


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise the driver's errors as `StorageError`, with its error name and nothing else of it."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    except ValueError as error:
        if str(error) not in _CLOSED:
            raise
        name = "closed"
    else:
        return
    raise StorageError(f"the SQLite database could not do this ({name})", retryable=name in _PASSING) from None
