"""Translates errors of the driver into errors of the vault."""

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vault_adapters.runtime.os_causes import os_cause, os_name
from vault_domain.entities import causes
from vault_domain.entities.errors import StorageError
from vault_domain.services.tokens.fault_log import FaultLog

_log = logging.getLogger(__name__)

# Errors that a retry may avoid: another connection holds a lock of the file, or the schema changed during a statement.
_PASSING = {
    "SQLITE_BUSY",
    "SQLITE_BUSY_RECOVERY",
    "SQLITE_BUSY_SNAPSHOT",
    "SQLITE_BUSY_TIMEOUT",
    "SQLITE_LOCKED",
    "SQLITE_PROTOCOL",
    "SQLITE_SCHEMA",
}

_CAUSES = {
    "SQLITE_AUTH": causes.PERMISSION_DENIED,
    "SQLITE_BUSY": causes.LOCKED,
    "SQLITE_CORRUPT": causes.CORRUPT,
    "SQLITE_FULL": causes.DISK_FULL,
    "SQLITE_LOCKED": causes.LOCKED,
    "SQLITE_NOTADB": causes.CORRUPT,
    "SQLITE_PERM": causes.PERMISSION_DENIED,
    "SQLITE_PROTOCOL": causes.LOCKED,
    "SQLITE_READONLY": causes.READ_ONLY,
}

_UNSYNCED = {"SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC"}
_CANNOT_OPEN = "SQLITE_CANTOPEN"

# The texts of the ValueError that aiosqlite raises for a closed connection.
_CLOSED = {"no active connection", "Connection closed"}


class FileErrors:
    """Translates the errors of one database file, and logs when the database begins to fail and when it works again.

    Args:
        path: the file, or ``:memory:``.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.name = f"the SQLite database {path}"
        self.faults = FaultLog(_log, self.name, time.monotonic)

    @contextmanager
    def translated(self, *, answers: bool = True, reads: bool = False) -> Iterator[None]:
        """Raise errors of the driver and of the file system as a `StorageError` with only their cause and name.

        Args:
            answers: whether a success shows that the database works. Closing the database does not show this.
            reads: whether only reads are done, so that a success does not show that the database takes writes.
        """
        try:
            yield
        except StorageError as error:
            self.faults.failed(error.reason or error.code)
            raise
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", None) or type(error).__name__
            cause = self._cause(name)
        except OSError as error:  # the file could not be created, or its mode could not be changed
            name, cause = os_name(error), os_cause(error)
        except ValueError as error:
            if str(error) not in _CLOSED:
                raise
            name, cause = "the vault is closed", causes.CLOSED
        else:
            if answers:
                self.faults.worked(only_read=reads)
            return
        if cause != causes.CLOSED:
            self.faults.failed(cause)
        detail = name if name == cause or name.lower() == cause else f"{cause}, {name}"
        # If only the sync of a commit failed, the transaction is written, and a crash may bring it back.
        in_doubt = name in _UNSYNCED
        message = f"{self.name} could not do this ({detail})" + ("; it may have taken effect" if in_doubt else "")
        raise StorageError(message, retryable=name in _PASSING, reason=cause, in_doubt=in_doubt) from None

    def _cause(self, name: str) -> str:
        if name.startswith(_CANNOT_OPEN):
            return causes.PERMISSION_DENIED if Path(self._path).exists() else causes.DATABASE_MISSING
        primary = "_".join(name.split("_")[:2])
        return _CAUSES.get(primary, name.lower())
