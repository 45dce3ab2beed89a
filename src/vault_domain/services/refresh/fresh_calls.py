"""Shares calls to the database, and starts a new call if the running one hangs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from vault_domain.ports.tasks import Tasks

T = TypeVar("T")

_MOST_RUNNING = 3
"""Largest number of running calls with one key, so that a database that hangs does not take all connections."""


class FreshCalls:
    """Calls that may be repeated: callers with the same key share a running call, unless it hangs.

    The connection of a call that hangs may be dead although the database is well; a new call gets another connection.
    The call that hangs goes on, and may still succeed.

    Args:
        tasks: runs the calls.
        patience: seconds after which a running call counts as hanging.
    """

    def __init__(self, tasks: Tasks, *, patience: float) -> None:
        self._tasks = tasks
        self._patience = patience
        self._started: dict[Hashable, list[float]] = {}

    def is_running(self, key: Hashable) -> bool:
        """Return whether a call with this key is running, even if it hangs."""
        return key in self._started

    async def call(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]], seconds: float) -> T:
        """Join the running call with this key, or start one; return its result.

        Raises:
            TimeoutError: the result is not there after ``seconds``; the call goes on.
        """
        if self._hangs(key):
            self._tasks.forget(key)
        return await self._tasks.share(key, lambda: self._timed(key, work), seconds)

    def _hangs(self, key: Hashable) -> bool:
        started = self._started.get(key, [])
        if not started or len(started) >= _MOST_RUNNING:
            return False
        return self._tasks.monotonic() - started[-1] >= self._patience

    async def _timed(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        began = self._tasks.monotonic()
        self._started.setdefault(key, []).append(began)
        try:
            return await work()
        finally:
            self._started[key].remove(began)
            if not self._started[key]:
                del self._started[key]
