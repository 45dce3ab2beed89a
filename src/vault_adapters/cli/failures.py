"""Reports errors to the user: one line on standard error, without a traceback and without any command-line argument."""

from __future__ import annotations

import errno
import os
import sys

from vault_adapters.cli.exit_codes import ExitCode, exit_code_of
from vault_domain import VaultError


def report(error: Exception) -> ExitCode:
    """Write one line about an error; return its exit code."""
    if isinstance(error, VaultError):
        complain(str(error))
        return exit_code_of(error)
    if isinstance(error, OSError):
        # Do not print the error's text, because it names a path, which may come from an argument.
        complain(f"the system refused a file operation ({errno.errorcode.get(error.errno or 0, 'unknown')})")
        discard_output()
        return ExitCode.UNEXPECTED
    if sys.flags.dev_mode:  # python -X dev -m vault_adapters.cli
        raise error
    # Do not print the text of an unexpected error, because it may hold a credential.
    complain(f"unexpected error ({type(error).__name__}); this is a bug, please report it")
    return ExitCode.UNEXPECTED


def complain(message: str) -> None:
    """Write ``token-vault: message`` on standard error, as one line."""
    sys.stderr.write(f"token-vault: {' '.join(message.split())}\n")


def discard_output() -> None:
    """Redirect standard output to the null device, because the interpreter's last flush would fail."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.close(sink)
