"""Limits the time of a call. An answer that arrived while the process was suspended can still be read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from attrs import frozen

OVERSLEPT = 0.1
"""A timer that is late by more seconds than this shows that the process was suspended or its event loop blocked."""

MORE = 0.5
"""Seconds for which a wait may go on after a late timer.

Reading an answer that has already arrived takes milliseconds.
"""

_enclosing: ContextVar[TimeLimit | None] = ContextVar("vault_adapters_time_limit", default=None)


def _never() -> bool:
    return False


@frozen(eq=False, repr=False)
class Beat:
    """A call that a `TimeLimit` makes at regular intervals, to ask whether its ``async with`` block may go on.

    Attributes:
        seconds: the interval.
        goes_on: returns whether the block may go on. Its argument tells by how many seconds the call is late. A
            call is late if the process was suspended or its event loop blocked.
    """

    seconds: float
    goes_on: Callable[[float], bool]


class TimeLimit:
    """Ends its ``async with`` block after some seconds with `TimeoutError`, like `asyncio.timeout`.

    If a process was suspended until after the limit, it runs the timer before it reads its sockets. So a late timer
    gives the block 0.5 s more, once, if ``may_get_answer`` returns True. A block that could still send its request gets
    no more time, because the lease under which it would send may be over.

    If the timer of an outer limit is late, the outer limit leaves the decision to the inner limit, which knows whether
    the request has left.

    Args:
        seconds: the limit.
        may_get_answer: returns whether the request has left and the block waits only for the answer.
        beat: the call to make at regular intervals before the limit; None: no call.
    """

    def __init__(
        self, seconds: float, may_get_answer: Callable[[], bool] = _never, *, beat: Beat | None = None
    ) -> None:
        self._seconds = seconds
        self._may_get_answer = may_get_answer
        self._beat = beat
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
        self._next = self._loop.time()
        self._set_timer()
        self._outer = _enclosing.get()
        if self._outer is not None:
            self._outer.inner = self
        self._mark = _enclosing.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._beat = None  # it may refer to this limit, and a cycle stays until the garbage collector runs
        _enclosing.reset(self._mark)
        if self._outer is not None:
            self._outer.inner = None
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from None

    def has_left(self) -> bool:
        """Return whether the request has left, as far as this limit or an inner limit knows."""
        return self._may_get_answer() or (self.inner is not None and self.inner.has_left())

    def _set_timer(self) -> None:
        self._next += self.due - self._next if self._beat is None else self._beat.seconds
        if self._next < self.due:
            self._timer = self._loop.call_at(self._next, self._check)
        else:
            self._timer = self._loop.call_at(self.due, self._ring)

    def _check(self) -> None:
        late = self._loop.time() - self._next
        if self._beat is not None and not self._beat.goes_on(late):
            self._end()
            return
        self._next += late
        self._set_timer()

    def _ring(self) -> None:
        if self._loop.time() - self.due > OVERSLEPT and (self.inner is not None or self._may_get_answer()):
            ahead = 0.0 if self.inner is None else max(0.0, self.due - self.inner.due)
            self._timer = self._loop.call_later(MORE + ahead, self._end)
        else:
            self._end()

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()
