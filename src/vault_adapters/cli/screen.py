"""The output of commands: tables for terminals, aligned text for pipes, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol

from attrs import frozen


@frozen
class Cell:
    """A text with its meaning: ``good``, ``warning``, ``bad``, ``quiet``, or empty for none."""

    text: str
    meaning: str = ""


Content = Cell | str | int | None
"""A value that a table can show; None is shown as a dash."""


class Screen(Protocol):
    """Shows a command's output; one class serves terminals, another serves pipes and files."""

    def moment(self, value: datetime | None) -> Cell:
        """Return a time as this screen shows it."""

    def heading(self, title: str, explanation: str = "") -> None:
        """Show a heading."""

    def text(self, content: Content) -> None:
        """Show a line."""

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Content]]) -> None:
        """Show rows under their column names."""

    def growing_table(self, columns: Sequence[str], rows: Iterable[Sequence[Content]]) -> None:
        """Show further rows, at least one, of a table that grows while the command runs."""

    def fields(self, pairs: Sequence[tuple[str, Content]], title: str = "") -> None:
        """Show names and their values, one below the other."""

    def beside(self, *blocks: tuple[str, Sequence[tuple[str, Content]]]) -> None:
        """Show blocks of names and values beside each other if the width allows it."""

    def commands(self, lines: Sequence[str]) -> None:
        """Show lines that can be copied into a shell."""


def open_screen() -> Screen:
    """Return the screen that fits standard output."""
    if sys.stdout.isatty():
        # Import rich only for a terminal, because it is slow to import.
        from vault_adapters.cli.terminal import TerminalScreen

        terminal = TerminalScreen()
        if terminal.is_capable:
            return terminal
    from vault_adapters.cli.plain import PlainScreen

    return PlainScreen()


def print_json(value: Any) -> None:
    """Print a value as one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def printable(content: Content) -> str:
    """Return a content as text, and escape its unprintable characters.

    An identifier may hold control characters, and these must not reach the user's terminal.
    """
    if content is None:
        return "-"
    text = content.text if isinstance(content, Cell) else str(content)
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)
