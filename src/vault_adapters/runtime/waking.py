"""Wakes the followers of the audit log when the store tells of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress

from vault_domain.ports.change_watch import ChangeHearer, ChangeWatch

Watching = Callable[[ChangeHearer], AbstractAsyncContextManager[ChangeWatch]]

_LOOK_SECONDS = 0.2
"""Seconds between two calls of `ChangeWatch.is_current`; some watches, such as SQLite's, look only when called."""


class StoreWaker:
    """Implements `Waker` over the notifications of a store.

    It begins to listen only on the first call of `wait`, because listening slows writers: they must notify while
    somebody listens. Some events, such as that of a failed refresh, change no token, and nothing notifies of them. So a
    follower also reads the log at an interval.

    Args:
        watch: watches the store and tells a hearer of changes; None if the store cannot be watched.
    """

    def __init__(self, watch: Watching | None) -> None:
        self._watch = watch
        self._stack = AsyncExitStack()
        self._watched: ChangeWatch | None = None
        self._lock = asyncio.Lock()
        self._changed: set[asyncio.Event] = set()

    def row_changed(self, mark: str, value: str) -> None:
        """See `ChangeHearer`."""
        self.anything_changed()

    def tenants_changed(self, concerns: Callable[[str], bool]) -> None:
        """See `ChangeHearer`."""
        self.anything_changed()

    def anything_changed(self) -> None:
        """See `ChangeHearer`."""
        for each in self._changed:
            each.set()

    async def wait(self, seconds: float) -> None:
        """Return when the store tells of a change, or after ``seconds`` at the latest."""
        watch = await self._begin()
        if watch is None:
            await asyncio.sleep(seconds)
            return
        changed = asyncio.Event()
        self._changed.add(changed)
        try:
            end = asyncio.get_running_loop().time() + seconds
            while (left := end - asyncio.get_running_loop().time()) > 0:
                watch.is_current()
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _LOOK_SECONDS)):
                        await changed.wait()
                if changed.is_set():
                    return
        finally:
            self._changed.discard(changed)

    async def _begin(self) -> ChangeWatch | None:
        async with self._lock:
            if self._watched is None and self._watch is not None:
                self._watched = await self._stack.enter_async_context(self._watch(self))
        return self._watched

    async def aclose(self) -> None:
        """Stop listening."""
        await self._stack.aclose()
