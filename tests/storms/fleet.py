"""The worker processes of a storm: started, killed and started again."""

import asyncio
import resource
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from attrs import asdict, define, evolve
from tests.storms.worker import Settings, work
from tests.support.processes import Call, ProcessHandle, start_processes

_EVERYTHING = resource.RLIM_INFINITY


@define
class _Life:
    name: str
    handle: ProcessHandle
    ended: float = float("inf")
    killed: bool = False


class Fleet:
    """Starts one process after another for each worker; all have ended once `stack` is closed."""

    def __init__(self, settings: list[Settings], stack: ExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._now: dict[int, _Life] = {}
        self.lives: list[_Life] = []

    async def start(self, worker: int) -> None:
        """Start the next process of a worker."""
        number = sum(life.name.startswith(f"w{worker}.") for life in self.lives)
        settings = evolve(self._settings[worker], name=f"w{worker}.{number}")
        life = await asyncio.to_thread(self._start, settings)
        self._now[worker] = life

    def _start(self, settings: Settings) -> _Life:
        group = self._stack.enter_context(start_processes([Call(work, [asdict(settings)])]))
        life = _Life(settings.name, group[0])
        self.lives.append(life)
        group.go()
        return life

    def kill(self, worker: int) -> None:
        """Kill the worker's process."""
        life = self._now[worker]
        life.ended, life.killed = time.time(), True
        life.handle.kill()

    def stop(self, worker: int) -> None:
        """Pause the worker's process in the middle of whatever it does."""
        with suppress(ProcessLookupError):
            self._now[worker].handle.pause()

    def go_on(self, worker: int) -> None:
        """Let the worker's paused process go on."""
        with suppress(ProcessLookupError):
            self._now[worker].handle.resume()

    def fill_disk(self, worker: int, *, full: bool) -> None:
        """Make every write of the worker's process to a file fail, as on a full disk, or let writes succeed again."""
        limit = (0 if full else _EVERYTHING, _EVERYTHING)
        with suppress(ProcessLookupError):
            resource.prlimit(self._now[worker].handle.pid, resource.RLIMIT_FSIZE, limit)

    async def end(self, patience: float) -> list[str]:
        """Wait until the processes have ended by themselves; return complaints about those that did not."""
        complaints, deadline = [], time.monotonic() + patience
        for life in self._now.values():
            try:
                result = await asyncio.to_thread(life.handle.wait, max(0.0, deadline - time.monotonic()))
            except AssertionError:
                life.ended = time.time()
                complaints.append(f"{life.name} did not end within {patience:g} s of its last call")
            else:
                life.ended = time.time()
                if result.returncode and not life.killed:
                    complaints.append(f"{life.name} ended with {result.returncode}: {result.stderr[-2000:]}")
        return complaints

    def logs(self, folder: Path) -> None:
        """Copy what the processes logged."""
        for life in self.lives:
            with suppress(OSError):
                (folder / f"{life.name}.log").write_text(life.handle.stderr)
