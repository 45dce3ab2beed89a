"""Keeps spreadsheets from running texts of a CSV as formulas, in a way that an import reverses."""

from __future__ import annotations

import re

# A spreadsheet may run a cell as a formula if the cell begins with one of these characters. Some spreadsheets skip a
# tab or line end before the sign of a formula, or read a full-width sign as the ASCII one.
_FORMULA = "=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20"
_TO_GUARD = re.compile(f"'*[{_FORMULA}]")
_GUARDED = re.compile(f"'+[{_FORMULA}]")


def guard(text: str) -> str:
    """Return a text as a cell, with an apostrophe before it if a spreadsheet would run it as a formula.

    A text that already has apostrophes before its formula gets one more, so that `unguard` restores every text.
    """
    return f"'{text}" if _TO_GUARD.match(text) else text


def unguard(cell: str) -> str:
    """Return the text from which `guard` made this cell."""
    return cell[1:] if _GUARDED.match(cell) else cell
