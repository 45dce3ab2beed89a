"""Reads what other systems keep in columns: objects of JSON, and times in several forms."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_MOST_TEXT = 2 * 1024 * 1024
_LAST = 253_402_300_000  # the year 9999, as a Unix time


def as_object(value: Any) -> Mapping[str, Any] | None:
    """Return a JSON object, which a driver may have left as a text; None for anything else.

    Some releases of Django's JSON fields have stored a text within a text, so that is read too.
    """
    for _ in range(2):
        if not isinstance(value, str) or len(value) > _MOST_TEXT:
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, Mapping) else None


def object_in(path: Path, most: int, *, named: bool = False) -> Mapping[str, Any] | None:
    """Return the JSON object in a file; None if it is larger than ``most`` bytes, or no object.

    Args:
        path: the file.
        most: largest size in bytes.
        named: whether an operator has named the file, which may then be a pipe. In a folder only regular files count.
    """
    try:
        # Without O_NONBLOCK, a pipe that nobody writes to would block.
        with open(os.open(path, os.O_RDONLY | (0 if named else os.O_NONBLOCK)), "rb") as stream:
            if not named and not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return None
            raw = stream.read(most + 1)
        return as_object(raw.decode()) if len(raw) <= most else None
    except (OSError, UnicodeDecodeError):
        return None


def as_moment(value: Any) -> Any:
    """Return a time as a text that a format reads; what is no time stays as it is, for the format to refuse.

    Args:
        value: a `datetime`, a Unix time in seconds (also as a text), or a text.
    """
    if isinstance(value, str):
        value = float(value) if value.isascii() and value.replace(".", "", 1).isdigit() else value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LAST:
        value = datetime.fromtimestamp(value, UTC)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    return value
