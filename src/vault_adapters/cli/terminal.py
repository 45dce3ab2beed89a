"""Output for a terminal: tables and colours, made with rich."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vault_adapters.cli.screen import Cell, Content, printable

_STYLES = {"good": "green", "warning": "yellow", "bad": "bold red", "quiet": "dim", "": ""}
_SIDE_BY_SIDE = 100
"""Smallest terminal width, in columns, for two blocks beside each other."""

_FOLDED = {"identifier", "label", "get_token"}
"""Columns that wrap if the terminal is too narrow; the other columns are short."""

_NOTHING = printable(None)
_UNITS = ((90, 1, "s"), (90 * 60, 60, "min"), (36 * 3600, 3600, "h"), (float("inf"), 86400, "days"))


class TerminalScreen:
    """Implements `Screen` for a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)

    @property
    def is_capable(self) -> bool:
        """Whether the terminal can show more than lines of text."""
        return not self._console.is_dumb_terminal

    def moment(self, value: datetime | None) -> Cell:
        """Return a time relative to now."""
        return Cell("-", "quiet") if value is None else Cell(distance(value, datetime.now(UTC)))

    def heading(self, title: str, explanation: str = "") -> None:
        """Show a heading."""
        self._console.print()
        self._console.rule(Text(title, "bold cyan"), align="left", style="cyan")
        if explanation:
            self._console.print(Text(explanation, "dim"))

    def text(self, content: Content) -> None:
        """Show a line."""
        self._console.print(_styled(content))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Content]]) -> None:
        """Show rows under their column names."""
        lines = [[_styled(cell) for cell in row] for row in rows]
        # Drop empty columns, to give their width to the others.
        kept = [at for at in range(len(columns)) if any(line[at].plain != _NOTHING for line in lines)]
        table = Table(box=box.SIMPLE_HEAD, border_style="dim", header_style="bold", pad_edge=False)
        for at in kept:
            table.add_column(columns[at], overflow="fold", no_wrap=columns[at] not in _FOLDED)
        for line in lines:
            table.add_row(*[line[at] for at in kept])
        self._console.print(table)

    def fields(self, pairs: Sequence[tuple[str, Content]], title: str = "") -> None:
        """Show names and their values, one below the other."""
        grid = _grid(pairs)
        self._console.print(_panel(title, grid) if title else grid)

    def beside(self, *blocks: tuple[str, Sequence[tuple[str, Content]]]) -> None:
        """Show blocks of names and values beside each other if the width allows it."""
        panels = [_panel(title, _grid(pairs)) for title, pairs in blocks]
        if self._console.width < _SIDE_BY_SIDE:
            for panel in panels:
                self._console.print(panel)
            return
        row = Table.grid(expand=True)
        for _ in panels:
            row.add_column(ratio=1)
        row.add_row(*panels)
        self._console.print(row)

    def commands(self, lines: Sequence[str]) -> None:
        """Show lines that can be copied into a shell."""
        for line in lines:
            # Leave wrapping to the terminal, because it copies a line as a whole only if it wrapped the line itself.
            self._console.print(Padding(Text(line, "green"), (0, 0, 0, 2)), soft_wrap=True)


def distance(moment: datetime, now: datetime) -> str:
    """Return a time relative to now, such as ``in 59 min`` or ``3 days ago``."""
    seconds = (moment - now).total_seconds()
    size, name = next((size, name) for limit, size, name in _UNITS if abs(seconds) < limit)
    amount = f"{round(abs(seconds) / size)} {name}"
    return f"in {amount}" if seconds >= 0 else f"{amount} ago"


def _styled(content: Content) -> Text:
    meaning = content.meaning if isinstance(content, Cell) else "quiet" if content is None else ""
    return Text(printable(content), _STYLES[meaning])


def _grid(pairs: Sequence[tuple[str, Content]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(Text(name), _styled(value))
    return grid


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=Text(title, "bold"), title_align="left", border_style="dim", box=box.ROUNDED)
