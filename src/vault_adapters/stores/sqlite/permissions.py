"""Removes the access of other users to the database's files, and says whether this user may write them."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

_log = logging.getLogger(__name__)

_SUFFIXES = ("", "-wal", "-shm", "-journal")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def tighten(path: Path) -> None:
    """Take other users' rights to the database's files if this user owns them; log one warning if others had rights.

    The owner's rights stay as they are, so a read-only file stays so. The warning says whether other users still have
    access. Windows has no such modes, so nothing happens there.

    Args:
        path: the database file; SQLite's files beside it are tightened too.
    """
    if os.name == "nt":
        return
    results = [_tighten(path.with_name(path.name + suffix)) for suffix in _SUFFIXES]
    if False in results:
        _log.warning("other users of this machine can access the database %r; its mode cannot be changed", str(path))
    elif True in results:
        _log.warning("other users of this machine could access the database %r; now only its owner can", str(path))


def may_write(path: str) -> bool:
    """Return whether this user may write the database's files now; False also on a read-only mount."""
    found = filter(os.path.exists, (path + suffix for suffix in _SUFFIXES))
    return all(os.access(each, os.W_OK, effective_ids=os.access in os.supports_effective_ids) for each in found)


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
        path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
    except OSError:
        return False
    return True
