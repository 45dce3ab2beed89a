"""Runs calls that outlive their callers; callers with the same key share one call."""

import asyncio
import copy
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, TypeVar

from vault_domain.entities.errors import VaultError

T = TypeVar("T")


class Flights:
    """Runs each call in a task of its own.

    - Cancelling a caller does not cancel the call.
    - Callers with the same key share one running call and its result. Once a key is forgotten, the next caller with
      this key starts a new call.
    - If a shared call fails with a `VaultError`, each caller raises its own copy, so that their tracebacks do not mix.
    - If no caller waits for a call any more, the call's error is dropped silently.
    """

    def __init__(self) -> None:
        self._by_key: dict[Hashable, asyncio.Task[Any]] = {}
        self._running: set[asyncio.Task[Any]] = set()

    def __contains__(self, key: Hashable) -> bool:
        """Return whether a call with this key is running that new callers can join."""
        return key in self._by_key

    @property
    def under_way(self) -> int:
        """The number of running calls, including calls whose keys were forgotten."""
        return len(self._running)

    async def share(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Join the running call with this key, or start a call; return the call's result."""
        failure: VaultError
        try:
            return await _join(self.begin(key, work))
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
            task.add_done_callback(partial(self._landed, key))
        return task

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a call that no other caller can join; return its result."""
        return await _join(self.start(work))

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a call without waiting for it."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

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
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # marks the error as seen, so that asyncio does not log it if all callers were cancelled

    def _landed(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        if self._by_key.get(key) is task:
            del self._by_key[key]


async def _join(task: asyncio.Task[T]) -> T:
    """Wait for a call and return its result; cancelling the caller does not cancel the call.

    `asyncio.shield` is not used, because since Python 3.14 it logs the error of a call whose caller was cancelled.
    `asyncio.wait` is not used, because it takes several microseconds longer.
    """
    waiter = task.get_loop().create_future()
    wake = partial(_wake, waiter)
    task.add_done_callback(wake)
    try:
        await waiter
    finally:
        task.remove_done_callback(wake)
    try:
        return task.result()
    finally:
        del task  # it holds its error, whose traceback holds this frame


def _wake(waiter: asyncio.Future[None], _: asyncio.Task[Any]) -> None:
    if not waiter.done():
        waiter.set_result(None)
