"""Runs the demonstration: an introduction, the steps, and commands to try by hand."""

from __future__ import annotations

import shlex
import shutil
import stat
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from vault_adapters.cli.demo import steps
from vault_adapters.cli.demo.attack import attack
from vault_adapters.cli.demo.intruder import Intruder
from vault_adapters.cli.demo.place import Place
from vault_adapters.cli.demo.refresh import refresh
from vault_adapters.cli.demo.stage import Stage
from vault_adapters.cli.screen import Screen
from vault_adapters.cli.session import with_vault
from vault_domain import TokenVault

Step = Callable[[Stage], Awaitable[None]]

STEPS: tuple[Step, ...] = (
    steps.connect,
    steps.show_both_sides,
    steps.watch_health,
    steps.watch_expiry,
    steps.invalidate,
    refresh,
    attack,
)


def run_demo(place: Place, screen: Screen) -> None:
    """Run every step on a new vault.

    Args:
        place: the files of the vault.
        screen: the screen to print to.
    """
    _introduce(place, screen)

    async def play(vault: TokenVault) -> None:
        stage = Stage(vault, screen, place, Intruder(place.database))
        for step in STEPS:
            await step(stage)

    with_vault(play, place.config(), migrate=True)
    _say_how_to_go_on(place, screen)


def _introduce(place: Place, screen: Screen) -> None:
    screen.heading("A new vault", "a new encryption secret and a SQLite file; your own database is not touched")
    mode = stat.filemode(place.secret_file.stat().st_mode)
    screen.fields([("database", str(place.database)), ("secret", f"{place.secret_file} ({mode})")])


def _say_how_to_go_on(place: Place, screen: Screen) -> None:
    screen.heading(
        "Try it yourself",
        "the same vault, by hand; the `get` for globex reads the row that the intruder changed, and is refused",
    )
    program = _program()
    exports = [f"export {name}={shlex.quote(value)}" for name, value in place.environment().items()]
    screen.commands(
        [
            *exports,
            f"{program} health",
            f"{program} list acme",
            f"{program} get acme google access_token --identifier ana@acme.example --reveal",
            f"{program} get globex clerk api_key",
            f"rm -r {shlex.quote(str(place.directory))}   # deletes the demonstration",
        ]
    )


def _program() -> str:
    """Return the command that starts this program: its name if the shell finds it, else the way it was started."""
    found = shutil.which("token-vault")
    started = Path(sys.argv[0])
    if started.name != "token-vault":
        return f"{shlex.quote(sys.executable)} -m vault_adapters.cli"
    return "token-vault" if found and Path(found).samefile(started) else shlex.quote(sys.argv[0])
