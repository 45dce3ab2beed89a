"""Commands that run a program in forks of a warm process, for tests that are not about the program's start."""

import atexit
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
_addresses: dict[Path, str] = {}


def is_supported() -> bool:
    """Whether the system has what the server needs."""
    return hasattr(os, "pidfd_open")


def program(script: Path, environment: Mapping[str, str]) -> list[str]:
    """Return the beginning of a command line; one server runs all commands of a script, and ends with this process.

    Args:
        script: a program that calls `warm_server.serve` with its first argument, the path of a socket.
        environment: configures the server's interpreter; each run has an environment of its own.
    """
    if script not in _addresses:
        _addresses[script] = _start(script, environment)
    return [sys.executable, "-I", "-S", str(_FOLDER / "warm_client.py"), _addresses[script]]


def _start(script: Path, environment: Mapping[str, str]) -> str:
    address = Path(tempfile.mkdtemp(prefix="token-vault-warm-")) / "socket"
    server = subprocess.Popen(
        [sys.executable, str(script), str(address)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    atexit.register(_end, server, address.parent)
    if server.stdout is None or server.stdout.read(5) != b"ready":
        raise AssertionError(server.communicate()[1].decode())
    return str(address)


def _end(server: "subprocess.Popen[bytes]", folder: Path) -> None:
    server.communicate()  # closes its standard input, which ends the server
    folder.rmdir()
