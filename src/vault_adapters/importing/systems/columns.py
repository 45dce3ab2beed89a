"""Reads what other systems keep in columns: objects of JSON, and times in several forms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
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
