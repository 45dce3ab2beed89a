"""Stop a server and remove its directory, even if the test process is killed.

A janitor is a second process that waits until a pipe is closed. The test process holds the other end, and the kernel
closes it however the test process dies. `atexit` and `finally` do not run when a process is killed, and a parent-death
signal would be sent when the thread that started the server ends, not when the process does.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_PATIENCE_SECONDS = 60.0  # long, because a server that is killed early leaves sessions and shared memory behind


class Janitor:
    """Cleans up `directory` and the server named in `pid_file` on `dismiss`, or when this process ends."""

    def __init__(self, directory: Path, pid_file: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(directory), str(pid_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            # Ctrl-C goes to the whole foreground group; the janitor has to outlive it.
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """Clean everything up now, and wait until that is done."""
        self._process.communicate()  # without a timeout: the janitor always ends, but late on a busy machine


def _command_line(pid: int) -> bytes | None:
    """Return a process's command line: None if it is gone, empty if a zombie, `unknown` on a machine without /proc."""
    if not Path("/proc/self").exists():
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            return b"unknown"
        return None
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _runs(pid: int, directory: Path) -> bool:
    """Tell whether the process is still the server, not another process that has got its id since."""
    line = _command_line(pid)
    return line is not None and (line == b"unknown" or os.fsencode(directory) in line)


def _stop(pid_file: Path, directory: Path) -> None:
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    for number in (signal.SIGQUIT, signal.SIGKILL):
        if not _runs(pid, directory):
            return
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while _runs(pid, directory) and time.monotonic() < deadline:
            time.sleep(0.02)


def _remove(directory: Path) -> None:
    """Remove a directory. The sessions of a killed server may write to it until they end, soon after the server."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while directory.exists():
        shutil.rmtree(directory, ignore_errors=True)
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def _main(directory: Path, pid_file: Path) -> None:
    sys.stdin.buffer.read()
    _stop(pid_file, directory)
    _remove(directory)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
