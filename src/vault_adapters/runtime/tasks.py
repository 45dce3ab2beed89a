"""Time, waiting and shared calls over asyncio."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from typing import Any, TypeVar
from uuid import UUID, uuid4

import anyio

from vault_adapters.runtime.flights import Flights

T = TypeVar("T")


class AsyncioTasks:
    """Implements `Tasks` on the running event loop."""

    def __init__(self) -> None:
        self._flights = Flights()

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

    async def share(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], timeout: float | None = None) -> T:
        """Run ``work`` once for all who ask with the same key meanwhile."""
        async with asyncio.timeout(timeout):
            return await self._flights.share(key, work)

    async def run_all(self, jobs: Sequence[tuple[str, Callable[[], Awaitable[None]]]], per_group: int) -> None:
        """Run jobs at once, at most ``per_group`` of the same group."""
        limits: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(per_group))

        async def limited(group: str, job: Callable[[], Awaitable[None]]) -> None:
            async with limits[group]:
                await job()

        tasks = [self._flights.start(limited(group, job)) for group, job in jobs]
        # Not a TaskGroup: neither the failure of one nor a cancelled caller may end a job that has spent a credential.
        for result in await asyncio.shield(asyncio.gather(*tasks, return_exceptions=True)):
            if isinstance(result, BaseException):
                raise result

    async def run_beside(self, work: Callable[[], Awaitable[None]], ahead: Callable[[], Awaitable[None]]) -> None:
        """Run ``work``, and meanwhile ``ahead``, which ends with the caller."""

        async def run_ahead() -> None:
            await ahead()

        beside = asyncio.create_task(run_ahead())
        try:
            await self.run_all([("work", work)], 1)
            await beside
        finally:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)

    async def drain(self, seconds: float) -> None:
        """Wait for what is under way, so long at most: what a provider has answered must be written down.

        What is left then only waits for others, or has lost the database; it is cancelled.
        """
        # Shielded, because a host that is being cancelled closes the vault all the same.
        with anyio.move_on_after(seconds, shield=True):
            await self._flights.wait()
        await self._flights.cancel()
