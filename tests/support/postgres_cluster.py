"""One data directory and the server process on it."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from .janitor import Janitor
from .postgres_binaries import find_binaries
from .postgres_data import make_data
from .unprivileged import run_as, server_directory

StopMode = Literal["fast", "immediate"]

_PATIENCE_SECONDS = 240.0
_PORT = 5432
_PROCESSES = Path("/proc")
_STOP_SIGNALS: Final[Mapping[StopMode, signal.Signals]] = {
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_DEFAULTS: Final[Mapping[str, str]] = {
    "listen_addresses": "",
    "port": str(_PORT),
    "max_connections": "300",
    # No data has to survive a crash of the machine.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


class PostgresStartError(Exception):
    """The server did not come up; the message ends with the end of its log."""


class PrivateCluster:
    """A PostgreSQL of our own: unix socket only, every local connection trusted, removed on `close`.

    Args:
        settings: server settings on top of the defaults for tests.
        standby_of: a server whose data is copied; the new server follows it. The copied server is stopped meanwhile.
    """

    def __init__(self, settings: Mapping[str, str], *, standby_of: "PrivateCluster | None" = None) -> None:
        self._owner_pid = os.getpid()
        self._directory = server_directory("vault-pg-")
        self.socket_dir: Final = self._directory
        self.data_dir: Final = self._directory / "data"
        self.log_path: Final = self._directory / "server.log"
        self.url: Final = f"postgresql://postgres@/postgres?host={quote(str(self._directory))}&port={_PORT}"
        self._settings = {**_DEFAULTS, "unix_socket_directories": str(self._directory), **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._janitor = Janitor(self._directory, self.data_dir / "postmaster.pid")
        try:
            self.bin_dir: Final = find_binaries(self._directory)
            if standby_of is None:
                make_data(self.bin_dir, self.data_dir, self._run)
            else:
                self._copy(standby_of)
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start the server on its data and wait until it takes connections."""
        if self._process is not None and self._process.poll() is None:
            raise RuntimeError("the server is already running")
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self.bin_dir / "postgres"), "-D", str(self.data_dir), *options]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                env=_environment(),
                start_new_session=True,
                **run_as(),
            )
        self._wait_until_ready(self._process)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server: `fast` ends sessions and writes a checkpoint, `immediate` is like a crash."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.poll() is None:
            process.send_signal(_STOP_SIGNALS[mode])
        try:
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Stop the processes where they are until the end of the block."""
        if self._process is None:
            raise RuntimeError("the server does not run")
        first = self._process.pid
        os.kill(first, signal.SIGSTOP)  # first, so that it starts no other process
        pids = [*_children(first), first]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """End the server with all its processes at once, as a power failure does."""
        if self._process is None:
            return
        process, self._process = self._process, None
        # Each process of the server leads its own process group, so each is killed by its id. The first process starts
        # all others; it is stopped, so that it starts no other meanwhile.
        process.send_signal(signal.SIGSTOP)
        for child in _children(process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()

    def close(self) -> None:
        """Stop the server and remove everything it wrote; a forked child leaves both to its parent."""
        if os.getpid() != self._owner_pid:
            return
        try:
            self.stop("immediate")
        finally:
            self._janitor.dismiss()

    def _copy(self, source: "PrivateCluster") -> None:
        """Copy a server's data and follow it; not every build has pg_basebackup."""
        source.stop()
        try:
            self._run(["cp", "-a", str(source.data_dir), str(self.data_dir)])
            self._run(["touch", str(self.data_dir / "standby.signal")])
        finally:
            source.start()
        self._settings["primary_conninfo"] = f"host={source.socket_dir} port={_PORT} user=postgres"

    def _run(self, command: list[str]) -> None:
        """Run a program as the server's user."""
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self._directory,
            env=_environment(),
            timeout=_PATIENCE_SECONDS,
            **run_as(),
        )
        if done.returncode != 0:
            raise PostgresStartError(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if self._is_ready(process.pid):
                return
            time.sleep(0.01)
        self.stop("immediate")
        tail = self.log_path.read_text(errors="replace")[-4000:]
        raise PostgresStartError(f"{self.bin_dir / 'postgres'} did not start; its log ends:\n{tail}")

    def _is_ready(self, pid: int) -> bool:
        """Tell whether the server is ready, by the file that pg_ctl reads; a file left by a crash has another pid."""
        try:
            lines = (self.data_dir / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _children(pid: int) -> list[int]:
    """Return the processes whose parent is ``pid``; slim images have no `ps`, and not every kernel lists children."""
    if not _PROCESSES.is_dir():
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
        return [int(line) for line in found.stdout.split()]
    children = []
    for file in _PROCESSES.glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            if int(file.read_text().rpartition(")")[2].split()[1]) == pid:
                children.append(int(file.parent.name))
    return children


def _environment() -> dict[str, str]:
    """Return the environment without the caller's PostgreSQL variables and locale."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}
