"""Runs calls that outlive their callers; callers with the same key share one call."""

import asyncio
import copy
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from vault_domain.entities.errors import VaultError

T = TypeVar("T")

_LAST_SECONDS = 20.0
"""Longest time in seconds for which a call outlives the program: the time of a lease by default."""


class Flights:
    """Runs each call in a task of its own.

    - Cancelling a caller does not cancel the call.
    - Callers with the same key share one running call and its result. Once a key is forgotten, the next caller with
      this key starts a new call.
    - If a shared call fails with a `VaultError`, each caller raises its own copy, so that their tracebacks do not mix.
    - If no caller waits for a call any more, the call's error is dropped silently.

    Args:
        last: whether a call ignores for a while that the program ends by an exit, when asyncio cancels all tasks. The
            call's request to a provider may have left. So a vault whose block is left by an exit closes as at any other
            time.
    """

    def __init__(self, *, last: bool = False) -> None:
        self._last = last
        self._by_key: dict[Hashable, asyncio.Task[Any]] = {}
        self._running: dict[asyncio.Task[Any], _Flight] = {}

    def __contains__(self, key: Hashable) -> bool:
        """Return whether new callers can join a running call with this key."""
        return key in self._by_key

    @property
    def under_way(self) -> int:
        """The number of running calls, including calls whose keys were forgotten."""
        return len(self._running)

    async def share(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], timeout: float | None = None) -> T:
        """Join the running call with this key, or start a call; return the call's result.

        Raises:
            TimeoutError: the call has not ended after ``timeout`` seconds (None: no limit); it goes on.
        """
        failure: VaultError
        try:
            return await self._join(self.begin(key, work), timeout)
        except VaultError as error:
            failure = copy.copy(error)
        try:
            raise failure
        finally:
            del failure  # a frame that holds its own error stays until the garbage collector runs

    def begin(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Return the task of the running call with this key, or start a call; do not wait for it."""
        task: asyncio.Task[T] | None = self._by_key.get(key)
        if task is None:
            task = self._by_key[key] = self.start(work())
            self._running[task].key = key
        return task

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a call that no other caller can join; return its result."""
        return await self._join(self.start(work), None)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a call without waiting for it."""
        task = asyncio.get_running_loop().create_task(work)
        if self._last:
            _outlive_the_program(task)
        self._running[task] = _Flight()
        task.add_done_callback(self._ended)
        return task

    async def ended(self, task: asyncio.Task[Any]) -> None:
        """Wait for a call's end, whatever its result; cancelling the caller does not cancel the call."""
        flight = self._running.get(task)
        if flight is not None:
            await flight.end(task.get_loop(), None)

    def is_current(self, key: Hashable) -> bool:
        """Return whether the calling code runs inside the call with this key; False once the key was forgotten."""
        return self._by_key.get(key) is asyncio.current_task()

    def forget(self, matches: Callable[[Any], bool]) -> None:
        """Stop new callers from joining running calls with matching keys; the calls go on for their present callers."""
        for key in list(filter(matches, self._by_key)):
            del self._by_key[key]

    async def wait(self) -> None:
        """Wait until no call is running, including calls that start meanwhile."""
        while self._running:
            await asyncio.wait(self._running)

    async def cancel(self) -> None:
        """Cancel all calls and wait for their end."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        flight = self._running.pop(task)
        if self._last:
            del task.cancel  # it holds the task; the class's method remains
        if self._by_key.get(flight.key) is task:
            del self._by_key[flight.key]
        flight.wake()
        if not task.cancelled():
            task.exception()  # marks the error as seen, so that asyncio does not log it if all callers were cancelled

    async def _join(self, task: asyncio.Task[T], timeout: float | None) -> T:
        """Wait for a call and return its result; cancelling the caller does not cancel the call."""
        if not await self._running[task].end(task.get_loop(), timeout):
            raise TimeoutError
        try:
            return task.result()
        finally:
            del task  # it holds its error, whose traceback holds this frame


class _Flight:
    """A running call: its key, if callers can join it, and the futures of the callers that wait for its end.

    The callers wait for futures of their own, because cancelling a caller cancels the future that it waits for.
    `asyncio.shield` is not used, because since Python 3.14 it logs the error of a call whose caller was cancelled.
    `asyncio.wait`, `asyncio.timeout` and one callback per caller on the task are not used either, because each of them
    takes several microseconds longer.
    """

    __slots__ = ("_waiters", "key")

    def __init__(self) -> None:
        self.key: Hashable = None
        self._waiters: list[asyncio.Future[bool]] = []

    async def end(self, loop: asyncio.AbstractEventLoop, timeout: float | None) -> bool:
        """Wait for the call's end; return False if it does not come within ``timeout`` seconds (None: no limit)."""
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters.append(waiter)
        timer = None if timeout is None else loop.call_later(timeout, _wake, waiter, False)
        try:
            return await waiter
        finally:
            self._waiters.remove(waiter)
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        """Tell the callers that the call has ended."""
        for waiter in self._waiters:
            _wake(waiter, True)


def _outlive_the_program(task: asyncio.Task[Any]) -> None:
    """Let a task ignore its cancellation when its event loop has stopped, for a while.

    `asyncio.run` cancels all tasks after its loop has stopped, and then runs the loop again until they have ended.
    """
    loop, cancel = task.get_loop(), task.cancel

    def cancel_later(msg: Any | None = None) -> bool:
        if loop.is_running() or loop.is_closed():
            return cancel(msg)
        loop.call_later(_LAST_SECONDS, cancel, msg)
        return False

    task.cancel = cancel_later  # type: ignore[method-assign] # a subclass would bypass the loop's task factory


def _wake(waiter: asyncio.Future[bool], is_ended: bool) -> None:
    if not waiter.done():
        waiter.set_result(is_ended)
