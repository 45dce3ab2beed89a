"""Fits the text of a statement to what it writes: leaves parts out, and repeats rows.

A statement with all its parts costs the server twice the time, most of it for parts that write nothing. Arrays would do
without repeated rows, but the driver takes a hundred times as long for an array as for its only element.
"""

from __future__ import annotations

import re
from functools import lru_cache

from attrs import field, frozen

_PART = re.compile(r"/\*(\w+)\*/(.*?)/\*end \1\*/", re.DOTALL)
_ROWS = re.compile(r"/\*each (\w+)\*/(.*?)/\*end each\*/", re.DOTALL)
_FIRST = re.compile(r"%\(([a-z]+)0_")


@frozen
class Shape:
    """What a statement writes.

    Attributes:
        parts: the names of the parts that stay. A part is the text between the comments ``name`` and ``end name``.
        rows: for each list of rows, the numbers of its rows. The text between ``each name`` and ``end each`` is its row
            number 0, whose parameters begin with letters and ``0_``.
    """

    parts: frozenset[str]
    rows: tuple[tuple[str, range], ...] = field(default=())


@lru_cache(maxsize=512)
def shaped(sql: str, shape: Shape) -> str:
    """Return the statement in this shape."""
    rows = dict(shape.rows)

    def part(found: re.Match[str]) -> str:
        return _PART.sub(part, found[2]) if found[1] in shape.parts else ""

    def each(found: re.Match[str]) -> str:
        return ", ".join(_FIRST.sub(rf"%(\g<1>{number}_", found[2]) for number in rows[found[1]])

    return _ROWS.sub(each, _PART.sub(part, sql))


def row_of(columns: dict[str, str], prefix: str) -> str:
    """Return the text of a row of parameters, with the columns' names and types, for ``VALUES``."""
    return ", ".join(f"%({prefix}0_{name})b::{kind}" for name, kind in columns.items())
