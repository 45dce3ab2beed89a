"""Translates errors of the driver into errors of the vault."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from vault_domain.entities.errors import StorageError

# Errors that a retry may avoid: another process holds a lock of the file, or the schema changed during a statement.
_PASSING = {
    "SQLITE_BUSY",
    "SQLITE_BUSY_RECOVERY",
    "SQLITE_BUSY_SNAPSHOT",
    "SQLITE_BUSY_TIMEOUT",
    "SQLITE_LOCKED",
    "SQLITE_PROTOCOL",
    "SQLITE_SCHEMA",
}


# The texts of the ValueError that aiosqlite raises for a closed connection.
_CLOSED = {"no active connection", "Connection closed"}


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise each error of the driver as a `StorageError` that holds only the error's name."""
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
