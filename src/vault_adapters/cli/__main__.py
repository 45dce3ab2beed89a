"""Entry point of `token-vault` and `python -m vault_adapters.cli`: runs a command and returns its exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from vault_adapters.cli.exit_codes import ExitCode
from vault_adapters.cli.failures import discard_output, report

_NEEDS_EXTRA = {"cyclopts", "rich"}
_INSTALL = "the command line needs the extra [cli]: pip install 'token-vault[cli]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the arguments after the program's name; None takes the arguments of the process.

    Returns:
        The exit code; see `ExitCode`.
    """
    _fill_closed_streams()
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()  # flush here, where a closed pipe can still be distinguished from a failure
    except BrokenPipeError:
        discard_output()
        return ExitCode.BROKEN_PIPE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # the user gets one line and no traceback for any error
        return report(error)
    return code


def _fill_closed_streams() -> None:
    """Open the null device for each standard stream that is closed, because Python sets a closed stream to None."""
    for name, mode, flag in ("stdin", "r", os.O_RDONLY), ("stdout", "w", os.O_WRONLY), ("stderr", "w", os.O_WRONLY):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, flag), mode, encoding="utf-8", closefd=False))


def _run(arguments: list[str]) -> int:
    try:
        from vault_adapters.cli.application import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _NEEDS_EXTRA:
            raise
        sys.stderr.write(f"token-vault: {_INSTALL}\n")
        return ExitCode.CONFIGURATION
    return run(arguments)


def program() -> NoReturn:
    """Run one command, and end the process.

    Most commands are short. So the collector seldom looks for cycles, and at the end nothing is taken apart: the vault
    is closed by then, and both together took a quarter of such a command's processor time.
    """
    gc.set_threshold(100_000)
    code = main()
    for stream in sys.stdout, sys.stderr:
        with suppress(OSError):  # whoever read it has gone
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    program()
