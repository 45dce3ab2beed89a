"""Shows a progress bar on a terminal; a pipe and a dumb terminal get none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vault_adapters.cli.failures import complain

Advance = Callable[[int], None]


class Waiting:
    """Shows progress on standard error while a command runs.

    Attributes:
        advance: function that sets the progress to a number.
        note: function that writes a line, above the bar if there is one.
    """

    def __init__(self, advance: Advance, note: Callable[[str], None]) -> None:
        self.advance = advance
        self.note = note


NOTHING_SHOWN = Waiting(lambda _: None, complain)


@contextmanager
def waiting(title: str, total: int | None) -> Iterator[Waiting]:
    """Show progress until the block ends.

    Args:
        title: name of the running work.
        total: value of the progress at the end; None if unknown.
    """
    if not sys.stderr.isatty():
        yield NOTHING_SHOWN
        return
    from rich.console import Console  # imported here, because it is slow to import and a pipe does not need it
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=console.is_dumb_terminal) as progress:
        task = progress.add_task(title, total=total)
        yield Waiting(
            lambda done: progress.update(task, completed=done),
            lambda line: console.print(f"token-vault: {line}", markup=False, soft_wrap=True),
        )
