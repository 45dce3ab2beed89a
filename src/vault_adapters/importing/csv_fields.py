"""Reads the fields of one CSV row (RFC 4180); a field may have any length.

Python's own reader refuses fields of more than 128 KiB, and its limit can only be changed for the whole process.
"""

from __future__ import annotations

import re

# The possessive quantifiers never backtrack, so the time is linear in the length of the row.
_FIELD = re.compile(r'(?:"((?:[^"]++|"")*+)"|((?!")[^,\r\n]*+))(,|(?:\r\n|\r|\n)?\Z)')


def fields_of(text: str) -> list[str] | None:
    """Return the fields of a row, whose line end may be missing; return None if the text is not a single valid row.

    A quote within an unquoted field is an ordinary character, as for Python's reader.
    """
    fields, place = [], 0
    while (found := _FIELD.match(text, place)) is not None:
        quoted, plain, end = found.groups()
        fields.append(plain if quoted is None else quoted.replace('""', '"'))
        if end != ",":
            return fields
        place = found.end()
    return None
