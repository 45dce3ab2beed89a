"""Reads and writes private files in a private directory; a pipe in place of a file cannot block a reader."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from vault_adapters.runtime.os_causes import os_cause

MISSING = "missing"
"""The cause if a directory does not exist."""

TEMPORARY = ".tmp"
"""The suffix of a file that has not got its name yet."""

_TRIAL_BYTES = 4096
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class WrongFileError(Exception):
    """A file cannot be read, is no regular file or is too large; the message names the problem, but not the file."""


def make_private_directory(directory: Path) -> str | None:
    """Create a directory with access for its owner only, if it is missing; check an existing directory.

    Returns:
        The end of a sentence that says what is wrong with the directory, or None.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Use lstat, because the owner of a link may point it elsewhere later.
        status = directory.lstat()
    except OSError:
        return "cannot be created"
    if not stat.S_ISDIR(status.st_mode):
        return "must be a directory, not a link to one"
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        return "must belong to the user of this process and give no access to others (mode 0700)"
    is_usable = os.access(directory, os.R_OK | os.W_OK | os.X_OK)
    return None if is_usable else "must be readable and writable by this process"


@contextmanager
def private_directory(directory: Path) -> Iterator[int]:
    """Open a directory; names of files in it are then relative to the descriptor, whatever its path becomes.

    Raises:
        OSError: the directory is a link, belongs to another user, gives other users access, or cannot be opened.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        yield handle
    finally:
        os.close(handle)


def try_directory(directory: Path) -> str | None:
    """Write a file that is gone at once; return the cause for which the directory takes no files, or None."""
    name = f"trial.{uuid4().hex}"
    try:
        with private_directory(directory) as folder:
            handle = os.open(name, _NEW, 0o600, dir_fd=folder)
            try:
                with open(handle, "wb") as file:
                    file.write(bytes(_TRIAL_BYTES))
            finally:
                remove_file(folder, name)
    except OSError as error:
        return _cause(error)
    return None


def write_private_file(directory: Path, name: str, data: bytes) -> str | None:
    """Write a file durably; return the cause for which this failed, or None."""
    temporary = temporary_name(name)
    try:
        with private_directory(directory) as folder:
            remove_file(folder, temporary)  # a crash may have left it, or somebody may have placed a link
            try:
                handle = os.open(temporary, _NEW, 0o600, dir_fd=folder)
                with open(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(handle)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
            except OSError:
                remove_file(folder, temporary)
                raise
    except OSError as error:
        return _cause(error)
    return None


def temporary_name(name: str) -> str:
    """Return the name that a file has until it is written whole."""
    return str(Path(name).with_suffix(TEMPORARY))


def remove_file(folder: int, name: str) -> None:
    """Remove a file of an open directory, if it is there and can be removed."""
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)


def read_private_file(folder: int, name: str, max_bytes: int) -> bytes | None:
    """Return the content of a regular file in an open directory; None if there is no file.

    Raises:
        WrongFileError: the name is that of no regular file, the file is larger than ``max_bytes``, or it cannot be
            read.
    """
    try:
        # Use O_NONBLOCK, because opening a pipe without a writer would block.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WrongFileError(f"it cannot be read ({os.strerror(error.errno or 0)})") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise WrongFileError("it is no regular file")
        with open(handle, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise WrongFileError(f"it cannot be read ({os.strerror(error.errno or 0)})") from None
    finally:
        os.close(handle)
    if len(data) > max_bytes:
        raise WrongFileError("it is too large")
    return data


def _cause(error: OSError) -> str:
    return MISSING if isinstance(error, FileNotFoundError) else os_cause(error)
