"""Removes the access of other users of the machine to the database's files."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

_log = logging.getLogger(__name__)

_SUFFIXES = ("", "-wal", "-shm", "-journal")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def tighten(path: Path) -> None:
    """Give the database's files the mode 0600 if this user owns them; log one warning if other users had access.

    The warning says whether other users still have access. Windows has no such modes, so nothing happens there.

    Args:
        path: the database file; SQLite's files beside it are tightened too.
    """
    if os.name == "nt":
        return
    results = [_tighten(path.with_name(path.name + suffix)) for suffix in _SUFFIXES]
    if False in results:
        _log.warning("other users of this machine can access the database %r; its mode cannot be changed", str(path))
    elif True in results:
        _log.warning("other users of this machine could access the database %r; its mode is 0600 now", str(path))


def _tighten(path: Path) -> bool | None:
    """Return True if the mode was changed, False if that is not possible, and None if there was nothing to do."""
    # Change the mode by path. Opening and closing the file would drop the locks that SQLite holds in this process.
    try:
        found = path.stat()
    except OSError:
        return None  # the file does not exist; opening the database reports any other error
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & _OTHERS:
        return None
    if found.st_uid != os.geteuid():
        return False
    try:
        path.chmod(0o600)
    except OSError:
        return False
    return True
