"""Limits the time of a call. An answer that arrived while the process was stopped can still be read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Self

_OVERSLEPT = 0.1
"""Seconds by which a timer is late if the process was stopped or its event loop blocked, not only busy."""

_MORE = 0.5
"""Seconds to go on after that. It takes milliseconds to read what lies in a socket."""

_enclosing: ContextVar[TimeLimit | None] = ContextVar("vault_adapters_time_limit", default=None)


def _never() -> bool:
    return False


class TimeLimit:
    """Ends the block after some seconds with `TimeoutError`, like `asyncio.timeout`.

    A stopped process that wakes after the end runs the timer before it reads its sockets. So the timer gives the block
    0.5 s more, once, if ``may_get_answer`` returns True. A block that could still send its request gets no more time,
    because its lease may be over.

    A limit around another one waits for the inner one, which knows whether the request has left.

    Args:
        seconds: the limit.
        may_get_answer: returns whether the request has left, so that only its answer is awaited.
    """

    def __init__(self, seconds: float, may_get_answer: Callable[[], bool] = _never) -> None:
        self._seconds = seconds
        self._may_get_answer = may_get_answer
        self.inner: TimeLimit | None = None
        self._is_over = False

    @property
    def is_over(self) -> bool:
        """Whether the time ran out."""
        return self._is_over

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of the vault runs in a task
        self._task, self._cancelling = task, task.cancelling()
        self._loop = task.get_loop()
        self.due = self._loop.time() + self._seconds
        self._timer = self._loop.call_at(self.due, self._ring)
        self._outer = _enclosing.get()
        if self._outer is not None:
            self._outer.inner = self
        self._mark = _enclosing.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        _enclosing.reset(self._mark)
        if self._outer is not None:
            self._outer.inner = None
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from None

    def _ring(self) -> None:
        if self._loop.time() - self.due > _OVERSLEPT and (self.inner is not None or self._may_get_answer()):
            ahead = 0.0 if self.inner is None else max(0.0, self.due - self.inner.due)
            self._timer = self._loop.call_later(_MORE + ahead, self._end)
        else:
            self._end()

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()
