"""Run jobs in several real processes at once, pause or kill them at a chosen moment, and collect their results.

Every child starts up completely, then waits; `go` releases all of them together. A child ends when the test
process ends, even if the test process is killed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import Factory, frozen

from .fork_server import ForkedProcess, is_supported, spawn
from .process_handle import ProcessFailedError, ProcessHandle, ProcessResult

__all__ = [
    "Call",
    "Module",
    "ProcessFailedError",
    "ProcessGroup",
    "ProcessHandle",
    "ProcessResult",
    "Script",
    "import_environment",
    "run_processes",
    "start_processes",
]

_ROOT: Final = Path(__file__).resolve().parents[2]
_START_SECONDS: Final = 120.0


@frozen
class Call:
    """A function of a module, sync or async; arguments and result pass as JSON."""

    function: Callable[..., Any]
    arguments: Sequence[Any] = ()

    def describe(self) -> dict[str, Any]:
        """Return the job's description for the child."""
        module = sys.modules[self.function.__module__]
        if self.function.__qualname__ != self.function.__name__ or module.__file__ is None:
            raise ValueError(f"{self.function.__qualname__} is not a function at the top level of a module")
        return {
            "kind": "call",
            "module": module.__name__,
            "file": module.__file__,
            "name": self.function.__name__,
            "arguments": list(self.arguments),
        }


@frozen
class Script:
    """Code that runs as with `python -c`; it may set `result` to a JSON value."""

    code: str
    argv: Sequence[str] = ()

    def describe(self) -> dict[str, Any]:
        """Return the job's description for the child."""
        return {"kind": "script", "code": self.code, "argv": ["-c", *self.argv]}


@frozen
class Module:
    """A module that runs as with `python -m`; its output is in the result's `stdout`."""

    name: str
    argv: Sequence[str] = ()

    def describe(self) -> dict[str, Any]:
        """Return the job's description for the child."""
        return {"kind": "module", "module": self.name, "argv": [self.name, *self.argv]}


Job = Call | Script | Module


@frozen
class ProcessGroup:
    """Processes that were started together; an index gives one of them."""

    handles: list[ProcessHandle] = Factory(list)

    def __getitem__(self, index: int) -> ProcessHandle:
        return self.handles[index]

    def __iter__(self) -> Iterator[ProcessHandle]:
        return iter(self.handles)

    def __len__(self) -> int:
        return len(self.handles)

    def go(self) -> None:
        """Release all processes as soon as the last one has started up."""
        deadline = time.monotonic() + _START_SECONDS
        for handle in self.handles:
            handle.wait_until_started(deadline)
        for handle in self.handles:
            handle.go()

    def wait(self, timeout: float = 240.0) -> list[ProcessResult]:
        """Wait until all processes have ended, whether they failed or not.

        Raises:
            ProcessFailedError: a process ran for longer than `timeout` seconds; it is killed and its stderr shown.
        """
        deadline = time.monotonic() + timeout
        return [handle.wait(max(0.0, deadline - time.monotonic())) for handle in self.handles]

    def results(self, timeout: float = 240.0) -> list[Any]:
        """Wait, and return the value of each process; None if it was killed on purpose before it wrote one.

        Raises:
            ProcessFailedError: a process failed or was too slow; the message has its stderr.
        """
        finished = self.wait(timeout)
        for handle, result in zip(self.handles, finished, strict=True):
            if result.returncode != 0 and not handle.killed:
                raise ProcessFailedError(handle.title, f"exit code {result.returncode}", result.stderr)
        return [result.value for result in finished]


@contextmanager
def start_processes(jobs: Sequence[Job], *, env: Mapping[str, str] = {}) -> Iterator[ProcessGroup]:
    """Start one process per job; each waits for `go`. The end of the block kills processes that still run."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vault-processes-")))
        group = ProcessGroup()
        for number, job in enumerate(jobs):
            handle = _start(job, directory / str(number), {**import_environment(), **env})
            stack.callback(handle.close)
            group.handles.append(handle)
        yield group


def run_processes(jobs: Sequence[Job], *, env: Mapping[str, str] = {}, timeout: float = 240.0) -> list[Any]:
    """Run all jobs at the same moment and return their values, in the order of the jobs."""
    with start_processes(jobs, env=env) as group:
        group.go()
        return group.results(timeout)


def import_environment() -> dict[str, str]:
    """Return an environment in which a child imports what this process can import."""
    entries = [str(_ROOT), *(str(Path(entry).resolve()) for entry in sys.path if entry)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(entries)), "PYTHONFAULTHANDLER": "1"}


def _start(job: Job, prefix: Path, environment: Mapping[str, str]) -> ProcessHandle:
    """Start a child whose barrier is a pair of pipes. Stdin cannot be the barrier, because programs may read stdin."""
    description = job.describe()
    go_read, go_write = os.pipe()
    started_read, started_write = os.pipe()
    files = {name: prefix.with_name(f"{prefix.name}.{name}") for name in ("stdout", "stderr", "value")}
    try:
        with (
            Path(os.devnull).open("rb") as stdin,
            files["stdout"].open("wb") as stdout,
            files["stderr"].open("wb") as stderr,
        ):
            streams = [stdin.fileno(), stdout.fileno(), stderr.fileno()]
            process = _spawn(description, files["value"], environment, [*streams, go_read, started_write])
    except BaseException:
        os.close(go_write)
        os.close(started_read)
        raise
    finally:
        os.close(go_read)
        os.close(started_write)
    title = f"process {prefix.name} ({description['kind']})"
    return ProcessHandle(title, process, files, go_write, started_read)


def _spawn(
    description: Mapping[str, Any], value_file: Path, environment: Mapping[str, str], descriptors: Sequence[int]
) -> "ForkedProcess | subprocess.Popen[bytes]":
    """Start a child as a fork, or, if forks are not supported, with an interpreter of its own."""
    if is_supported(environment):
        return spawn({"description": description, "value_file": str(value_file)}, environment, descriptors)
    stdin, stdout, stderr, *pipes = descriptors
    return subprocess.Popen(
        [
            *(sys.executable, "-m", f"{__package__}.process_child"),
            *(json.dumps(description), str(value_file), *map(str, pipes)),
        ],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pipes,
        env=environment,
        start_new_session=True,
    )
