"""Output for pipes and files: aligned text, one row per line, without colours and boxes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from vault_adapters.cli.screen import Cell, Content, printable

_GAP = "  "


class PlainScreen:
    """Implements `Screen` for pipes and files."""

    def __init__(self) -> None:
        # Characters that the output's encoding lacks are escaped, because writing them would raise an error.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        self._widths: list[int] = []

    def moment(self, value: datetime | None) -> Cell:
        """Return a time as ISO 8601 in UTC, to the second."""
        return Cell("-" if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))

    def heading(self, title: str, explanation: str = "") -> None:
        """Show a heading."""
        _write(f"\n{title}\n{'-' * len(title)}")
        if explanation:
            _write(explanation)

    def text(self, content: Content) -> None:
        """Show a line."""
        _write(printable(content))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Content]]) -> None:
        """Show rows under their column names."""
        self._widths = []
        self.growing_table(columns, rows)

    def growing_table(self, columns: Sequence[str], rows: Iterable[Sequence[Content]]) -> None:
        """Show further rows of a table; only the first call shows the column names."""
        lines = [[printable(cell) for cell in row] for row in rows]
        if not self._widths:
            lines.insert(0, [name.upper().replace(" ", "_") for name in columns])
        before = self._widths or [0] * len(columns)
        self._widths = [
            max(width, *map(len, column)) for width, column in zip(before, zip(*lines, strict=True), strict=True)
        ]
        for line in lines:
            _write(_GAP.join(text.ljust(width) for text, width in zip(line, self._widths, strict=True)).rstrip())

    def fields(self, pairs: Sequence[tuple[str, Content]], title: str = "") -> None:
        """Show names and their values, one below the other."""
        if title:
            _write(f"{title}:")
        width = max((len(name) for name, _ in pairs), default=0)
        indent = _GAP if title else ""
        for name, value in pairs:
            _write(f"{indent}{name.ljust(width)}{_GAP}{printable(value)}".rstrip())

    def beside(self, *blocks: tuple[str, Sequence[tuple[str, Content]]]) -> None:
        """Show blocks of names and values, one below the other."""
        for title, pairs in blocks:
            self.fields(pairs, title)

    def commands(self, lines: Sequence[str]) -> None:
        """Show lines that can be copied into a shell."""
        for line in lines:
            _write(f"{_GAP}{line}")


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
