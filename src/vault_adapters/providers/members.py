"""Finds members in a decoded JSON value, by their paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LARGEST_NUMBER = 10**100


def member_at(value: Any, path: str) -> Any:
    """Return the member at a path, or None.

    Dots join the parts of a path. A part is the name of an object's member, the number of a list's item (from 0),
    ``[name]`` for the first item of a list whose member ``name`` is true, or ``*`` for a list of what the rest of the
    path finds in each item. A member whose name equals the whole path is preferred.
    """
    if isinstance(value, Mapping) and path in value:
        return value[path]
    part, _, rest = path.partition(".")
    if part == "*":
        items = value if isinstance(value, list) else []
        found = [member_at(item, rest) if rest else item for item in items]
        return [each for each in found if each is not None] or None
    step = _step(value, part)
    return member_at(step, rest) if rest and step is not None else step


def _step(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if not isinstance(value, list):
        return None
    if part.startswith("["):
        flag = part[1:-1]
        return next((item for item in value if isinstance(item, Mapping) and item.get(flag) in (True, "true")), None)
    number = int(part) if part.isdecimal() else len(value)
    return value[number] if number < len(value) else None


def text_of(value: Any) -> str | None:
    """Return a text, a whole number as its digits, or a list of these joined by commas; None for anything else.

    A number of over 100 digits is None too, and a text of a list must not hold a comma.
    """
    if isinstance(value, list):
        texts = [text_of(item) for item in value]
        return ",".join(filter(None, texts)) if all(text and "," not in text for text in texts) else None
    is_number = type(value) is int and abs(value) < _LARGEST_NUMBER
    return str(value) if is_number or type(value) is str else None
