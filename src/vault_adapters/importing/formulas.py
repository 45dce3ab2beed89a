"""Keeps spreadsheets from running texts of a CSV as formulas, in a way that an import reverses."""

from __future__ import annotations

import re

# Spreadsheets run a cell that begins with one of these; some ignore white space before it, or read a full-width
# character as the ASCII one.
_FORMULA = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_TO_GUARD = re.compile(f"'*[{_FORMULA}]")
_GUARDED = re.compile(f"'+[{_FORMULA}]")


def guard(text: str) -> str:
    """Return a text as a cell, with an apostrophe before it if a spreadsheet would run it as a formula.

    A formula that already follows apostrophes gets one more, so that `unguard` returns every text as it was.
    """
    return f"'{text}" if _TO_GUARD.match(text) else text


def unguard(cell: str) -> str:
    """Return the text from which `guard` made this cell."""
    return cell[1:] if _GUARDED.match(cell) else cell
