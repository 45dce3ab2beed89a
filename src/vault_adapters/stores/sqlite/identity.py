"""Notices that a database file was deleted or replaced while it is open."""

from pathlib import Path

from vault_domain.entities.errors import StorageError


class FileIdentity:
    """The file that a path named when the database was opened, by device and inode.

    SQLite keeps working with a deleted file. What it writes then is in no file that anybody can open, and two vaults
    that have opened different files under one path do not see each other's leases.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()  # the host may change its working directory
        self._identity = self._current()

    def check(self) -> None:
        """Compare the file that the path names now.

        Raises:
            StorageError: it is another file, or none.
        """
        if self._current() != self._identity:
            raise StorageError(
                "the SQLite file was deleted or replaced while it was open; nothing was stored",
                code="database_replaced",
                retryable=False,
            )

    def _current(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
