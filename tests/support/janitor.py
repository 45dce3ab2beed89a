"""Stop a server and remove its directory, even where the test process was killed before it could.

A janitor is a second process that waits for the end of a pipe whose other end the test process holds. The
kernel closes that end however the test process dies, which neither `atexit` nor a `finally` can promise, and
a parent-death signal would follow the thread that started the server rather than the process.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_PATIENCE_SECONDS = 10.0


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
        """Have everything cleaned up now, and wait for it."""
        self._process.communicate()  # each of its waits has an end, which a busy machine puts off


def _command_line(pid: int) -> bytes | None:
    """Return a process's command line: None if it is gone, empty if a zombie."""
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
    """Tell whether the process is still the server, not another one that was given its number since."""
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


def _main(directory: Path, pid_file: Path) -> None:
    sys.stdin.buffer.read()
    _stop(pid_file, directory)
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
