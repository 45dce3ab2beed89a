"""Notices that a database file was deleted or replaced while it is open, or takes no writes."""

import math
import os
import time
from pathlib import Path

from vault_adapters.stores.sqlite.permissions import may_write
from vault_domain.entities.errors import StorageError

_READ_SECONDS = 0.1
"""Reads check the file once in this time, because a system call in each read would take a tenth of the read's time."""


class FileIdentity:
    """Identifies, by device and inode, the file that a path named when the database was opened.

    SQLite keeps working with a deleted file. The rows that it writes after the deletion are in no file that anybody can
    open. Two vaults that have opened different files under one path do not see each other's leases.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path.absolute())  # the host may change its working directory
        self._identity = _current(self._path)
        self._was_writable = may_write(self._path)
        self._seen_at = -math.inf

    def check(self) -> None:
        """Check that the path still names this file.

        Raises:
            StorageError: the path names another file, or none.
        """
        self._seen_at = -math.inf  # after a failure, the next read looks again
        if _current(self._path) != self._identity:
            raise StorageError(
                "the SQLite file was deleted or replaced while it was open; nothing was stored",
                code="database_replaced",
                retryable=False,
            )
        self._seen_at = time.monotonic()

    def is_writable(self) -> bool:
        """Return whether this user may write the database's files, and could when it was opened.

        SQLite opens a file that it may not write without an error, and this connection then takes no writes for ever.
        """
        return self._was_writable and may_write(self._path)

    def is_of(self, path: str) -> bool:
        """Return whether another path names this file too; an empty path names none."""
        self.check()
        return bool(path) and _current(path) == self._identity

    def check_for_read(self) -> None:
        """Call `check`, unless it succeeded less than 0.1 s ago.

        So a read may notice a replaced file 0.1 s late. This does no harm, because a read changes nothing.
        """
        if time.monotonic() - self._seen_at >= _READ_SECONDS:
            self.check()


def _current(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
