"""Writes a file that only its owner can read, that replaces no other file, and that appears when it is complete."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vault_domain import InvalidInputError

Write = Callable[[str], object]

STANDARD_OUTPUT = "-"


def refuse_existing(path: str) -> None:
    """Refuse the name of something that exists, or that cannot be the name of a file.

    Raises:
        InvalidInputError: as said above; the message does not repeat the name, which may be a misplaced secret.
    """
    try:
        is_there = os.path.lexists(path) or os.path.lexists(_unfinished(Path(path)))
    except ValueError:  # such as a NUL
        is_there = True
    if is_there:
        raise InvalidInputError("the file of --to, or its .part, exists already; nothing is replaced")


@contextmanager
def written_privately(path: str) -> Iterator[Write]:
    """Write a text; yield the function that appends to it.

    The text goes to ``path`` with ``.part`` behind it, which nobody else can read from the moment it exists. At the end
    it is synced and gets its name by a hard link, which never replaces a file. After an error nothing is left.

    Args:
        path: the new file; ``-`` is standard output.

    Raises:
        InvalidInputError: the file cannot be created, or exists.
    """
    if path == STANDARD_OUTPUT:
        yield sys.stdout.write
        sys.stdout.flush()
        return
    final, part = Path(path), _unfinished(Path(path))
    descriptor = _created(part)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            yield stream.write
            stream.flush()
            os.fsync(stream.fileno())
        _name(part, final)
    finally:
        with suppress(OSError):
            part.unlink()
    _sync_folder(final.parent)


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _created(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:  # drop the error, because it names the path
        pass
    raise InvalidInputError("the file of --to cannot be created")


def _name(part: Path, final: Path) -> None:
    try:
        os.link(part, final)
    except OSError:
        pass
    else:
        return
    raise InvalidInputError("the file of --to exists already, or its file system has no hard links")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
