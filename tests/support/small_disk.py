"""A real file system of a few megabytes that a test fills, for tests of a full disk."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .unprivileged import server_directory, server_user

_CHUNK = b"\0" * 65536


class NoMountError(Exception):
    """No file system can be mounted here; the message says why."""


class SmallDisk:
    """A mounted file system.

    Attributes:
        path: its directory, which belongs to the user that servers run as.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Write a file until no byte is free."""
        with self._ballast.open("ab", buffering=0) as file:
            size = len(_CHUNK)
            while size:
                try:
                    file.write(_CHUNK[:size])
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2

    def make_room(self) -> None:
        """Remove the file that `fill` wrote."""
        self._ballast.unlink()


@contextmanager
def mount_small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """Give a file system in memory, and unmount it when the block ends. Close all files on it before the block ends.

    Raises:
        NoMountError: the system is not Linux, or this user may not mount.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        raise NoMountError("only root on Linux can mount a small file system")
    path = server_directory("vault-disk-")
    try:
        options = f"size={megabytes}m,mode=0700"
        user = server_user()
        if user is not None:
            options += f",uid={user.pw_uid},gid={user.pw_gid}"
        command = ["mount", "-t", "tmpfs", "-o", options, "vault-tests", str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise NoMountError(f"no file system can be mounted: {done.stderr.strip()}")
        try:
            yield SmallDisk(path)
        finally:
            # Lazily, because a server that is being stopped may still have files open.
            subprocess.run(["umount", "--lazy", str(path)], check=True)
    finally:
        path.rmdir()
