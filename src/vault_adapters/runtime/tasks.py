"""Time, waiting and shared calls over asyncio."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4

import anyio

from vault_adapters.runtime.deadlines import Deadlines
from vault_adapters.runtime.flights import Flights
from vault_adapters.runtime.time_limit import Beat, TimeLimit
from vault_adapters.runtime.turns import Turns, end_turn

if TYPE_CHECKING:
    from vault_domain.ports.tasks import Choose

K = TypeVar("K")
T = TypeVar("T")

_LAST_SECONDS = 0.5
"""Seconds for which `drain` waits after ``is_needed`` has returned False.

By then, the calls that must not be cancelled have ended, but their callers may not have the results yet.
"""


class AsyncioTasks:
    """Implements `Tasks` on the running event loop."""

    def __init__(self) -> None:
        self._flights = Flights(last=True)
        self._deadlines = Deadlines()
        self._turns: dict[Hashable, Turns] = {}

    def monotonic(self) -> float:
        """Return the seconds of a monotonic clock."""
        return time.monotonic()

    def jitter(self) -> float:
        """Return a random number from 0 to 1."""
        return random.random()  # noqa: S311 - it spreads load and protects no secret

    def new_id(self) -> UUID:
        """Return a random id."""
        return uuid4()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def within(self, seconds: float, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work``; cancel it after ``seconds`` seconds.

        If the process was suspended and goes on only after the limit, a call whose request had left before the
        suspension may still read its answer; see `TimeLimit`.
        """
        async with TimeLimit(seconds):
            return await work()

    async def within_briefly(self, seconds: float, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work``; cancel it after ``seconds`` seconds. Calls with the same limit share a timer."""
        return await self._deadlines.within(seconds, work)

    def limited(self, seconds: float, call: Awaitable[T], only_if: Callable[[K], bool], about: K) -> Awaitable[T]:
        """Return an awaitable for the result of ``call``; see `Deadlines.limited`."""
        return self._deadlines.limited(seconds, call, only_if, about)

    async def within_lease(
        self,
        seconds: float,
        work: Callable[[], Awaitable[T]],
        *,
        pace: float,
        renew: Callable[[], Coroutine[Any, Any, object]],
    ) -> T:
        """Run ``work`` under a lease, and call ``renew`` every ``pace`` seconds; cancel ``work`` after ``seconds``.

        ``work`` is also cancelled if the lease may be over and ``work`` has not sent its request yet; see `Tasks`.
        """
        renewals: list[asyncio.Task[object]] = []

        def beat(late: float) -> bool:
            if all(each.done() for each in renewals):  # while a renewal hangs, do not start another one
                renewals[:] = [self._flights.start(renew())]
            return late < pace or limit.has_left()

        limit = TimeLimit(seconds, beat=Beat(pace, beat))
        async with limit:
            return await work()

    def is_flying(self, key: Hashable) -> bool:
        """Return whether new callers can join a running call with this key."""
        return key in self._flights

    async def share(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], timeout: float | None = None) -> T:
        """Run ``work`` once for all concurrent callers with the same key."""
        return await self._flights.share(key, work, timeout)

    def forget(self, key: Hashable) -> None:
        """Let the next `share` with this key start anew."""
        self._flights.forget(lambda each: each == key)

    async def run_all(self, jobs: Sequence[tuple[str, Callable[[], Awaitable[None]]]], per_group: int) -> None:
        """Run jobs concurrently, at most ``per_group`` of a group at a time."""
        limits: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(per_group))

        async def limited(group: str, job: Callable[[], Awaitable[None]]) -> None:
            async with limits[group]:
                await job()

        tasks = [self._flights.start(limited(group, job)) for group, job in jobs]
        # A TaskGroup would cancel the running refreshes if a job failed or the caller were cancelled.
        for task in tasks:
            await self._flights.ended(task)
        for task in tasks:
            task.result()

    async def in_turn(
        self, group: Hashable, member: Hashable, work: Callable[[], Awaitable[T]], *, most: int, choose: Choose
    ) -> T:
        """Wait for a turn of the group, then run ``work``; see `Turns`."""
        if group not in self._turns:
            self._turns[group] = Turns(most, choose)
        return await self._turns[group].run(member, work)

    def end_turn(self) -> None:
        """Free the turn of the running call of `in_turn`."""
        end_turn()

    async def run_beside(self, work: Callable[[], Awaitable[None]], ahead: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` and ``ahead`` concurrently; cancelling the caller cancels only ``ahead``."""

        async def run_ahead() -> None:
            await ahead()

        beside = asyncio.create_task(run_ahead())
        try:
            await self.run_all([("work", work)], 1)
            await beside
        finally:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)

    async def drain(
        self, seconds: float, *, longest: float = 0.0, is_needed: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait for running calls, so that providers' answers are stored; then cancel the remaining calls.

        The remaining calls only wait for other processes or for an unreachable database.

        Args:
            seconds: longest time to wait for calls that need not end normally.
            longest: longest time to wait while ``is_needed`` returns True, counted from the start of `drain`.
            is_needed: returns whether a call is running that must end normally.
        """
        # Shield the wait, because the vault must also be closed if the host is being cancelled.
        with anyio.move_on_after(seconds, shield=True):
            await self._flights.wait()
        with anyio.move_on_after(longest - seconds, shield=True):
            while is_needed():  # noqa: ASYNC110 - no event tells when this changes, and 50 ms more do not matter
                await asyncio.sleep(0.05)
        if seconds < longest:
            with anyio.move_on_after(_LAST_SECONDS, shield=True):
                await self._flights.wait()
        await self._flights.cancel()
