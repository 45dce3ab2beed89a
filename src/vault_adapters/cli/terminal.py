"""Output for a terminal: tables and colours, made with rich."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vault_adapters.cli.screen import Cell, Content, printable

_STYLES = {"good": "green", "warning": "yellow", "bad": "bold red", "quiet": "dim", "": ""}
_SIDE_BY_SIDE = 100
"""Smallest terminal width, in columns, for two blocks beside each other."""

_PROSE = {"get_token", "blob"}
"""Names of columns and fields whose texts may be wrapped; other texts are shown whole, because they may be ids."""

_UNLIMITED = 1_000_000
"""Columns of a terminal that cuts nothing."""

_GAP = 2
"""Columns of the terminal between two columns of a panel."""

_FRAME = 4
"""Columns of the terminal that the frame of a panel takes."""

_RULE = 4
"""Columns of the terminal that a heading's rule needs beside the title."""

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
        """Show a heading, with a rule beside the title if both fit on one line."""
        self._console.print()
        if cell_len(title) + _RULE <= self._console.width:
            self._console.rule(Text(title, "bold cyan"), align="left", style="cyan")
        else:
            self._console.print(Text(title, "bold cyan"), soft_wrap=True)
        if explanation:
            self._console.print(Text(explanation, "dim"))

    def text(self, content: Content) -> None:
        """Show a line."""
        self._console.print(_styled(content))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Content]]) -> None:
        """Show rows under their column names."""
        lines = [[_styled(cell) for cell in row] for row in rows]
        # Drop empty columns, to give their width to the other columns.
        kept = [at for at in range(len(columns)) if any(line[at].plain != _NOTHING for line in lines)]
        names = [columns[at] for at in kept]
        cells = [[line[at] for at in kept] for line in lines]
        if len(cells) > 1 and not self._fits(names, cells):
            names, cells = self._say_once(names, cells)
        if self._fits(names, cells):
            self._console.print(_table(names, cells))
        else:
            self._stack(names, cells)

    def growing_table(self, columns: Sequence[str], rows: Iterable[Sequence[Content]]) -> None:
        """Show further rows; repeat the column names, because `table` may choose other columns for these rows."""
        self.table(columns, rows)

    def fields(self, pairs: Sequence[tuple[str, Content]], title: str = "") -> None:
        """Show names and their values, one below the other."""
        styled = [(name, _styled(value)) for name, value in pairs]
        if title and _inner_width(styled) + _FRAME <= self._console.width:
            self._console.print(_panel(title, _grid(styled)))
            return
        if title:
            self._console.print(Text(title, "bold"))
        self._lines(styled)

    def _fits(self, names: Sequence[str], cells: Sequence[Sequence[Text]]) -> bool:
        """Return whether a table cuts no text; only columns of `_PROSE` wrap texts, between words."""
        unlimited = self._console.options.update_width(_UNLIMITED)
        unwrapped = self._console.measure(_table(names, cells), options=unlimited).maximum
        return unwrapped - _wrappable(names, cells) <= self._console.width

    def _say_once(self, names: list[str], cells: list[list[Text]]) -> tuple[list[str], list[list[Text]]]:
        """Show values that are the same in all rows, such as the tenant, above a table; return the other columns."""
        same = [at for at in range(len(names)) if len({line[at].plain for line in cells}) == 1]
        if len(same) == len(names):  # keep one column, so that the number of rows can be seen
            same = same[:-1]
        self._lines([(names[at], cells[0][at]) for at in same])
        others = [at for at in range(len(names)) if at not in same]
        return [names[at] for at in others], [[line[at] for at in others] for line in cells]

    def _stack(self, names: list[str], cells: list[list[Text]]) -> None:
        """Show each row as lines, because a table would cut or break its texts."""
        for line in cells:
            self._lines([pair for pair in zip(names, line, strict=True) if pair[1].plain != _NOTHING])
            self._console.print()

    def _lines(self, pairs: Sequence[tuple[str, Text]]) -> None:
        """Show names and values as lines; the terminal wraps a long line itself, so that a user can copy it whole."""
        width = max((cell_len(name) for name, _ in pairs), default=0)
        for name, value in pairs:
            self._console.print(Text(name.ljust(width), "dim"), value, sep="  ", soft_wrap=True)

    def beside(self, *blocks: tuple[str, Sequence[tuple[str, Content]]]) -> None:
        """Show blocks of names and values beside each other if the width allows it."""
        styled = [(title, [(name, _styled(value)) for name, value in pairs]) for title, pairs in blocks]
        widest = max((_inner_width(pairs) for _, pairs in styled), default=0) + _FRAME
        if self._console.width < max(_SIDE_BY_SIDE, widest * len(blocks)):
            for title, pairs in blocks:
                self.fields(pairs, title)
            return
        panels = [_panel(title, _grid(pairs)) for title, pairs in styled]
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


def _table(names: Sequence[str], cells: Sequence[Sequence[Text]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, border_style="dim", header_style="bold", pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=name not in _PROSE)
    for line in cells:
        table.add_row(*line)
    return table


def _wrappable(names: Sequence[str], cells: Sequence[Sequence[Text]]) -> int:
    """Return by how many columns of the terminal a table becomes narrower if the texts of `_PROSE` are wrapped."""
    return sum(
        max(cell_len(name), *(line[at].cell_len for line in cells))
        - max(cell_len(name), *(_least(name, line[at]) for line in cells))
        for at, name in enumerate(names)
    )


def _least(name: str, value: Text) -> int:
    """Return the smallest width for a text: its longest word in a column of `_PROSE`, otherwise the whole text."""
    parts = value.plain.split() if name in _PROSE else [value.plain]
    return max(map(cell_len, parts), default=0)


def _inner_width(pairs: Sequence[tuple[str, Text]]) -> int:
    names = max((cell_len(name) for name, _ in pairs), default=0)
    return names + 2 * _GAP + max((_least(name, value) for name, value in pairs), default=0)


def _grid(pairs: Sequence[tuple[str, Text]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, value in pairs:
        grid.add_row(Text(name), value)
    return grid


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=Text(title, "bold"), title_align="left", border_style="dim", box=box.ROUNDED)
