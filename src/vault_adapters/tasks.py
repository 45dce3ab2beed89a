"""Time, waiting and shared calls over asyncio."""

import asyncio
import copy
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast
from uuid import UUID, uuid4

from vault_domain.errors import VaultError

T = TypeVar("T")


class AsyncioTasks:
    """Implements `Tasks` on the running event loop."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[Any]] = {}

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

        async with asyncio.TaskGroup() as group:
            for name, job in jobs:
                group.create_task(limited(name, job))

    async def drain(self, seconds: float) -> None:
        """Wait for the calls under way, so long at most: what a provider has answered must be written down.

        What is left then only waits for others, or has lost the database; it is cancelled.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._flights:
                    await asyncio.wait(list(self._flights.values()))
        for task in list(self._flights.values()):
            task.cancel()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)

    def _landed(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        if self._flights.get(key) is task:
            del self._flights[key]
        if not task.cancelled():
            task.exception()  # nobody may be left to fetch it


async def _run(work: Callable[[], Awaitable[T]]) -> T:
    return await work()
