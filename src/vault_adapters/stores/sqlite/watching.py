"""Notices that another connection has changed the file."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vault_adapters.stores.sqlite.database import MEMORY
from vault_adapters.stores.sqlite.errors import FileErrors
from vault_domain.entities.account import TokenKey
from vault_domain.ports.change_watch import ChangeHearer

_ASKED_EVERY = 0.005
"""Seconds for which the last ``data_version`` is used again, because reading it takes several system calls."""


class FileWatch:
    """Implements `ChangeWatch` over ``PRAGMA data_version``, which changes with every commit of another connection.

    The statement takes only a few microseconds, so it runs on the event loop. It does not wait for other transactions.

    Args:
        connection: the watch's own connection, on which nothing else runs.
        hearer: is told about changes.
    """

    def __init__(self, connection: sqlite3.Connection, hearer: ChangeHearer) -> None:
        self._connection = connection
        self._hearer = hearer
        self._version: int | None = None
        self._asked_at = -math.inf

    def is_current(self) -> bool:
        """See `ChangeWatch`."""
        now = time.monotonic()
        if now - self._asked_at < _ASKED_EVERY:
            return self._version is not None
        self._asked_at = now
        try:
            [version] = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            version = None
        if version is None or version != self._version:
            self._hearer.anything_changed()
        self._version = version
        return version is not None

    def mark(self, key: TokenKey) -> None:
        """See `ChangeWatch.mark`; rows have no marks, because SQLite does not tell which rows changed."""


class OwnWatch:
    """Implements `ChangeWatch` for a database in memory, which only this process can change."""

    def is_current(self) -> bool:
        """See `ChangeWatch`."""
        return True

    def mark(self, key: TokenKey) -> None:
        """Return None, because no other process changes a row."""


@asynccontextmanager
async def watching(path: str, hearer: ChangeHearer) -> AsyncIterator[FileWatch | OwnWatch]:
    """Watch a database file, or ``:memory:``, until the block ends."""
    if path == MEMORY:
        yield OwnWatch()
        return
    with FileErrors(path).translated():
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    try:
        yield FileWatch(connection, hearer)
    finally:
        connection.close()
