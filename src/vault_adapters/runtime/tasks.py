"""Time, waiting and shared calls over asyncio."""

import asyncio
import copy
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, TypeVar, cast
from uuid import UUID, uuid4

import anyio

from vault_domain.entities.errors import VaultError

T = TypeVar("T")


class AsyncioTasks:
    """Implements `Tasks` on the running event loop."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[Any]] = {}
        self._jobs: set[asyncio.Task[None]] = set()

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""
        return time.monotonic()

    def jitter(self) -> float:
        """Return a random number from 0 to 1."""
        return random.random()  # noqa: S311 - it spreads load, it keeps no secret

    def new_id(self) -> UUID:
        """Return a random id."""
        return uuid4()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def within(self, seconds: float, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work`` and cancel it after so many seconds."""
        async with asyncio.timeout(seconds):
            return await work()

    def is_flying(self, key: Hashable) -> bool:
        """Whether a call with this key is running."""
        return key in self._flights

    async def share(self, key: Hashable, work: Callable[[], Awaitable[T]], timeout: float | None = None) -> T:
        """Run ``work`` once for all who ask with the same key meanwhile."""
        task = self._flights.get(key)
        if task is None:
            task = self._flights[key] = asyncio.ensure_future(_run(work))
            task.add_done_callback(lambda done: self._landed(key, done))
        failure: VaultError
        try:
            async with asyncio.timeout(timeout):
                return cast("T", await asyncio.shield(task))
        except VaultError as error:
            # Each caller raises an error of its own, so that their tracebacks do not mix.
            failure = copy.copy(error)
        raise failure

    async def run_all(self, jobs: Sequence[tuple[str, Callable[[], Awaitable[None]]]], per_group: int) -> None:
        """Run jobs at once, at most ``per_group`` of the same group."""
        limits: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(per_group))

        async def limited(group: str, job: Callable[[], Awaitable[None]]) -> None:
            async with limits[group]:
                await job()

        tasks = [asyncio.create_task(limited(group, job)) for group, job in jobs]
        for task in tasks:
            self._jobs.add(task)
            task.add_done_callback(self._jobs.discard)
        # Not a TaskGroup: neither the failure of one nor a cancelled caller may end a job that has spent a credential.
        for result in await asyncio.shield(asyncio.gather(*tasks, return_exceptions=True)):
            if isinstance(result, BaseException):
                raise result

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way, so long at most: what a provider has answered must be written down.

        What is left then only waits for others, or has lost the database; it is cancelled.
        """
        end = self.monotonic() + seconds
        with anyio.CancelScope(shield=True):  # a host that is being cancelled closes the vault all the same
            while (running := self._running()) and (left := end - self.monotonic()) > 0:
                await asyncio.wait(running, timeout=left)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _running(self) -> set[asyncio.Task[Any]]:
        return {task for task in (*self._flights.values(), *self._jobs) if not task.done()}

    def _landed(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        if self._flights.get(key) is task:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # nobody may be left to fetch it


async def _run(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
