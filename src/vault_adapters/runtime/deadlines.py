"""Uses few timers to limit the time of many short calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from attrs import define

K = TypeVar("K")
T = TypeVar("T")

_TICKS = 10
"""Number of ticks in which a limit passes."""


class _Endable(Protocol):
    """What a deadline can end: a future, or a call that a task awaits (`_Running`)."""

    def done(self) -> bool: ...

    def set_exception(self, exception: BaseException, /) -> None: ...


_Deadline = tuple[_Endable, int, Callable[[Any], bool], Any]
"""A call, the tick in which it began, and `only_if` with its argument.

It is a bare tuple, because each read makes one.
"""


@define(eq=False)
class _Running:
    """A call that a task awaits. To end it, the task is cancelled."""

    task: asyncio.Task[object] | None  # None as soon as the call has ended
    is_over: bool = False

    def done(self) -> bool:
        return self.task is None

    def set_exception(self, _: BaseException, /) -> None:
        if self.task is not None:
            self.is_over = True
            self.task.cancel()


@define(eq=False)
class _Queue:
    """The calls with one limit, in the order in which they began."""

    calls: deque[_Deadline]
    tick: int = 0

    def drop_ended(self) -> None:
        while self.calls and self.calls[0][0].done():
            self.calls.popleft()


class Deadlines:
    """Ends calls after some seconds with `TimeoutError`, as `asyncio.timeout` does, or up to a tenth later.

    A timer for each call would be a fifth of the cost of a read. Calls with the same limit run out of time in the
    order in which they began, so one queue and one timer serve all of them. The timer rings ten times within the limit,
    as long as calls are running, and counts its rings (ticks). A call notes the number of the tick in which it began,
    because asking for the time costs more.
    """

    def __init__(self) -> None:
        self._queues: dict[float, _Queue] = {}

    def limited(self, seconds: float, call: Awaitable[T], only_if: Callable[[K], bool], about: K) -> Awaitable[T]:
        """Return an awaitable that gives the result of ``call``, if it comes within ``seconds`` seconds.

        If ``call`` is a plain future, and not a task, it is returned, and gets the error when its time runs out. For
        any other awaitable, the task that awaits the result is cancelled, which costs more.

        Args:
            seconds: the limit. For a plain future it counts from this call, otherwise from the moment when the result
                is awaited.
            call: any awaitable. Nobody else may await it.
            only_if: called with ``about`` when the time has run out; if it returns False, the call goes on without a
                limit.
            about: the argument for ``only_if``.

        Raises:
            TimeoutError: raised when the result is awaited: the time ran out, and the call was ended.
        """
        if not isinstance(call, asyncio.Future) or isinstance(call, asyncio.Task):
            return self.within(seconds, lambda: call, lambda: only_if(about))
        queue = self._queues.get(seconds) or self._open(seconds)
        queue.drop_ended()
        queue.calls.append((call, queue.tick, only_if, about))
        return call

    async def within(
        self, seconds: float, work: Callable[[], Awaitable[T]], only_if: Callable[[], bool] = lambda: True
    ) -> T:
        """Run ``work``; cancel it after ``seconds`` seconds.

        Args:
            seconds: the limit.
            work: the call.
            only_if: called when the time has run out; if it returns False, the call goes on without a limit.

        Raises:
            TimeoutError: the time ran out and ``work`` was cancelled.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of the vault runs in a task
        running, cancelling = _Running(task), task.cancelling()
        queue = self._queues.get(seconds) or self._open(seconds)
        queue.drop_ended()
        queue.calls.append((running, queue.tick, lambda _: only_if(), None))
        try:
            return await work()
        except asyncio.CancelledError:
            if running.is_over and task.uncancel() <= cancelling:
                raise TimeoutError from None
            raise
        finally:
            running.task = None
            queue.drop_ended()

    def _open(self, seconds: float) -> _Queue:
        queue = self._queues[seconds] = _Queue(deque())
        asyncio.get_running_loop().call_later(seconds / _TICKS, self._ring, seconds, queue)
        return queue

    def _ring(self, seconds: float, queue: _Queue) -> None:
        queue.tick += 1
        calls = queue.calls
        try:
            while calls and (queue.tick - calls[0][1] > _TICKS or calls[0][0].done()):
                call, _, only_if, about = calls.popleft()
                if not call.done() and only_if(about):
                    call.set_exception(TimeoutError())
        finally:  # an error of `only_if` must not leave the other calls without a timer
            if calls:
                asyncio.get_running_loop().call_later(seconds / _TICKS, self._ring, seconds, queue)
            else:
                del self._queues[seconds]
