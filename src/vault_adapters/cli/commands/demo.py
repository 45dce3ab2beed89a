"""`demo`: demonstrates the vault on a new SQLite database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vault_adapters.cli.demo.place import make_place
from vault_adapters.cli.demo.run import run_demo
from vault_adapters.cli.screen import open_screen


def demo(
    *,
    directory: Annotated[
        str | None, Parameter(help="A new or empty directory for the demo's files; the default is a temporary one.")
    ] = None,
) -> None:
    """Create a vault in a directory of its own, use it and attack it.

    The demo changes nothing outside of this directory and connects to no other machine.
    """
    run_demo(make_place(None if directory is None else Path(directory)), open_screen())
