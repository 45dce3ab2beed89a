"""Makes the data directories of new servers.

`initdb` runs once in a process, because a copy of its result takes an eighth of the time.
"""

import atexit
import os
from collections.abc import Callable
from pathlib import Path

from .janitor import Janitor
from .unprivileged import server_directory

_made: dict[tuple[int, Path], Path] = {}
"""What `initdb` has made and no server has used, by process and folder of the programs."""


def make_data(programs: Path, target: Path, run: Callable[[list[str]], None]) -> None:
    """Make the data directory of a new server; all that this process makes have the same system identifier.

    Args:
        programs: the folder with `initdb`.
        target: the directory to make.
        run: runs a command as the server's user.
    """
    if programs.is_relative_to(target.parent):  # a copy of the programs that only this server uses
        _initdb(programs, target, run)
        return
    key = (os.getpid(), programs)
    if key not in _made:
        directory = server_directory("vault-initdb-")
        _end_with_process(Janitor(directory, directory / "no server"))
        _initdb(programs, directory / "data", run)
        _made[key] = directory / "data"
    run(["cp", "-a", str(_made[key]), str(target)])


def _initdb(programs: Path, target: Path, run: Callable[[list[str]], None]) -> None:
    # No locale but C is certain to exist, and minimal builds have no ICU.
    run(
        [
            *(str(programs / "initdb"), "-D", str(target), "-U", "postgres", "-A", "trust"),
            *("-E", "UTF8", "--locale=C", "--no-sync"),
        ]
    )


def _end_with_process(janitor: Janitor) -> None:
    """Let the janitor clean up at the end of this process, which also happens if the process is killed."""
    owner = os.getpid()

    def dismiss() -> None:
        if os.getpid() == owner:  # a forked child leaves it to its parent
            janitor.dismiss()

    atexit.register(dismiss)
