"""Children that are forks of a process which has already imported the vault, so that they start in milliseconds.

A child is a process of its own, with its own environment, streams and session. It differs from a fresh interpreter only
in the modules that are imported already. The server that forks has one thread, no connection and no key.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

from tests.support.public_authorities import pass_over

__all__ = ["ForkedProcess", "is_supported", "spawn"]

_USE_CASES = tuple(
    f"vault_domain.services.{name}"
    for name in (
        *("refresh.access", "refresh.api_keys", "refresh.rejections", "refresh.rereading", "refresh.sweep"),
        *("tokens.accounts", "tokens.health", "tokens.listing", "tokens.token_writer"),
    )
)
_IMPORTED_BEFORE = (
    *("aiosqlite", "anyio._backends._asyncio", "httpx2", "psycopg_pool", "pytest", "tests.support.oauth_server"),
    *("vault_adapters.providers", "vault_adapters.stores.postgres.store", "vault_adapters.stores.sqlite.store"),
    *("vault_adapters.composition", "vault_adapters.testing", *_USE_CASES, "tests.support.process_child"),
)
_MOST_BYTES: Final = 1 << 20
_MOST_DESCRIPTORS: Final = 8
_ENDED: Final = "the server that forks has ended; its stderr is in this process's"
# Python's variables that may differ between a child and this process. Python reads the others only when it starts.
_APPLIED_LATE = ("PYTHONPATH", "PYTHONFAULTHANDLER")
_servers: dict[int, "_Server"] = {}


class ForkedProcess:
    """A child of the server; has the methods of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, pidfd: int, connection: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd = pidfd
        self._connection = connection

    def poll(self) -> int | None:
        """Return the exit code, negative after a signal, or None if the child still runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the child's end and return its exit code.

        Raises:
            subprocess.TimeoutExpired: the child still runs after `timeout` seconds.
        """
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a forked process", timeout or 0)
            answer = self._connection.recv(_MOST_BYTES)
            if not answer:
                raise RuntimeError(_ENDED)
            self.returncode = int(answer)
            self._connection.close()
            os.close(self._pidfd)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the child has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """End the child as `kill -9` does."""
        self.send_signal(signal.SIGKILL)


class _Server:
    """The process that forks, as its parent sees it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment,
                start_new_session=True,
            )

    def fork(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> ForkedProcess:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            message = json.dumps(request).encode()
            socket.send_fds(self._control, [message], [theirs.fileno(), *descriptors])
        answer, pidfds, _, _ = socket.recv_fds(ours, _MOST_BYTES, 1)
        if not answer:
            raise RuntimeError(_ENDED)
        return ForkedProcess(int(answer), pidfds[0], ours)

    def end(self) -> None:
        self._control.close()
        self._process.wait()


def is_supported(environment: Mapping[str, str]) -> bool:
    """Tell whether the system can fork in this way, and whether a forked child can have this environment."""
    changed = {
        name
        for name in {*environment, *os.environ}
        if name.startswith("PYTHON") and name not in _APPLIED_LATE and environment.get(name) != os.environ.get(name)
    }
    return hasattr(os, "pidfd_open") and hasattr(socket, "send_fds") and not changed


def spawn(job: Mapping[str, Any], environment: Mapping[str, str], descriptors: Sequence[int]) -> ForkedProcess:
    """Start a child that does a job.

    Args:
        job: description and value file for `process_child`.
        environment: the whole environment of the child.
        descriptors: standard input, output and error of the child, and the two pipes for `process_child`.
    """
    server = _servers.get(os.getpid())
    if server is None:
        server = _servers[os.getpid()] = _Server(environment)
        atexit.register(server.end)
    return server.fork({"job": job, "environment": dict(environment), "folder": os.getcwd()}, descriptors)


def _serve(control: socket.socket) -> Callable[[], None] | None:
    """Fork for every request until the parent has ended. In a child, return its job; in the server, return None."""
    running: dict[int, tuple[int, socket.socket]] = {}  # process id and connection by pidfd
    while True:
        ready, _, _ = select.select([control, *running], [], [])
        for pidfd in {*running}.intersection(ready):
            _report_end(pidfd, *running.pop(pidfd))
        if control not in ready:
            continue
        message, descriptors, _, _ = socket.recv_fds(control, _MOST_BYTES, _MOST_DESCRIPTORS)
        if not message:
            return None
        connection = socket.socket(fileno=descriptors.pop(0))
        pid = os.fork()
        if pid == 0:
            control.close()
            for inherited in (connection, *(other for _, other in running.values())):
                inherited.close()
            for inherited_pidfd in running:
                os.close(inherited_pidfd)
            return _child(json.loads(message), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        pidfd = os.pidfd_open(pid)
        socket.send_fds(connection, [str(pid).encode()], [pidfd])
        running[pidfd] = (pid, connection)


def _report_end(pidfd: int, pid: int, connection: socket.socket) -> None:
    _, status = os.waitpid(pid, 0)
    with connection, suppress(BrokenPipeError):
        connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os.close(pidfd)


def _child(request: Mapping[str, Any], descriptors: Sequence[int]) -> Callable[[], None]:
    """Begin a session, take on the streams, folder, environment and module path of the request, and return its job."""
    from tests.support import process_child

    os.setsid()
    for number, stream in enumerate(descriptors[:3]):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = [request["folder"], *dict.fromkeys([*entries, *sys.path[1:]])]
    _, _, _, go_pipe, started_pipe = descriptors

    def job() -> None:
        process_child.main(go_pipe=go_pipe, started_pipe=started_pipe, **request["job"])
        if request["job"]["description"]["kind"] == "call":
            _end_without_clearing()

    return job


def _end_without_clearing() -> None:
    """End as a child of `multiprocessing` does; an interpreter that clears its modules takes longer than most jobs."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as control:
        for module in _IMPORTED_BEFORE:
            import_module(module)
        pass_over()
        gc.freeze()
        job = _serve(control)
    if job is not None:
        job()
