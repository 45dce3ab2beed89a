"""Errors as a person sees them: one line on standard error, no traceback, and nothing of what was passed in."""

from __future__ import annotations

import errno
import os
import sys

from vault_adapters.cli.exit_codes import ExitCode, exit_code_of
from vault_domain import VaultError


def report(error: Exception) -> ExitCode:
    """Write one line about an error; return the exit code for it."""
    if isinstance(error, VaultError):
        complain(str(error))
        return exit_code_of(error)
    if isinstance(error, OSError):
        # Its text would name a path, which may have come from an argument.
        complain(f"the system refused a file operation ({errno.errorcode.get(error.errno or 0, 'unknown')})")
        discard_output()
        return ExitCode.UNEXPECTED
    if sys.flags.dev_mode:  # python -X dev -m vault_adapters.cli
        raise error
    # The text of an error that nobody foresaw may hold anything, a credential included.
    complain(f"unexpected error ({type(error).__name__}); this is a bug, please report it")
    return ExitCode.UNEXPECTED


def complain(message: str) -> None:
    """Write ``token-vault: message`` on standard error, as one line."""
    sys.stderr.write(f"token-vault: {' '.join(message.split())}\n")


def discard_output() -> None:
    """Let the interpreter's last flush go nowhere: standard output cannot be written any more."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.close(sink)
