"""Reports errors to the user: one line on standard error, without a traceback and without command-line arguments."""

from __future__ import annotations

import errno
import os
import sys
from math import ceil

from vault_adapters.cli.exit_codes import ExitCode, exit_code_of
from vault_domain import RefreshFailedError, TokenNotFoundError, VaultError

FIND = "`token-vault find TEXT` finds an account and its identifier by the beginning of its label"


def report(error: Exception) -> ExitCode:
    """Write one line about an error; return its exit code.

    In Python's development mode, an unexpected error is raised again instead.
    """
    message, code = described(error)
    if sys.flags.dev_mode and not isinstance(error, VaultError | OSError):  # python -X dev -m vault_adapters.cli
        raise error
    complain(message)
    if isinstance(error, OSError):
        discard_output()
    return code


def described(error: Exception) -> tuple[str, ExitCode]:
    """Return one line about an error, and its exit code."""
    if isinstance(error, VaultError):
        return _told(error), exit_code_of(error)
    if isinstance(error, OSError):
        # Do not show the error's text, because it names a path, which may come from an argument.
        name = errno.errorcode.get(error.errno or 0, "unknown")
        return f"the system refused a file operation ({name})", ExitCode.UNEXPECTED
    # Do not show the text of an unexpected error, because it may hold a credential.
    return f"unexpected error ({type(error).__name__}); this is a bug, please report it", ExitCode.UNEXPECTED


def _told(error: VaultError) -> str:
    """Return an error's message, with what the user may do: try again later, or look for the identifier."""
    message = str(error)
    if isinstance(error, TokenNotFoundError) and error.account is not None:
        return f"{message}; {FIND}"
    if isinstance(error, RefreshFailedError) and error.retry_after is not None:
        message = f"{message}; try again in {ceil(error.retry_after.total_seconds())} s"
    return message


def complain(message: str) -> None:
    """Write ``token-vault: message`` on standard error, as one line."""
    sys.stderr.write(f"token-vault: {' '.join(message.split())}\n")


def discard_output() -> None:
    """Redirect standard output to the null device, so that the interpreter's flush at exit does not fail."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.close(sink)
