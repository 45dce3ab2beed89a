"""Uses few timers to limit the time of many short calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from attrs import define

from vault_adapters.runtime.ticks import Ticks

K = TypeVar("K")
T = TypeVar("T")


class _Endable(Protocol):
    """What a deadline can end: a future, or a call that a task awaits (`_Running`)."""

    def done(self) -> bool: ...

    def set_exception(self, exception: BaseException, /) -> None: ...


_Deadline = tuple[_Endable, int, Callable[[Any], bool], Any]
"""A call, the tick in which it began, and `only_if` with its argument.

It is a bare tuple, because each read makes one.
"""


@define(eq=False, repr=False)
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


class _Queue:
    """The calls with one limit, in the order in which they began.

    Args:
        seconds: the limit.
        left: called when the queue is empty and its timer ends.
    """

    def __init__(self, seconds: float, left: Callable[[], object]) -> None:
        self.calls: deque[_Deadline] = deque()
        self.ticks = Ticks(seconds, self._end_late, self._is_needed)
        self._left = left
        self.ticks.begin()

    def add(self, call: _Endable, only_if: Callable[[K], bool], about: K) -> None:
        self.drop_ended()
        self.calls.append((call, self.ticks.number, only_if, about))

    def drop_ended(self) -> None:
        while self.calls and self.calls[0][0].done():
            self.calls.popleft()

    def _end_late(self) -> None:
        calls = self.calls
        while calls and (self.ticks.is_over(calls[0][1]) or calls[0][0].done()):
            call, _, only_if, about = calls.popleft()
            if not call.done() and only_if(about):
                call.set_exception(TimeoutError())

    def _is_needed(self) -> bool:
        """Return whether any call is left; if none is, the queue goes, because there may be many different limits."""
        if not self.calls:
            self._left()
        return bool(self.calls)


class Deadlines:
    """Ends calls after some seconds with `TimeoutError`, as `asyncio.timeout` does, or up to a tenth of the time later.

    A timer for each call would be a fifth of the cost of a read. Calls with the same limit run out of time in the
    order in which they began, so one queue and one timer serve all of them. A call notes the number of the tick in
    which it began (`Ticks`), because asking for the time costs more.
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
        self._queue(seconds).add(call, only_if, about)
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
        queue = self._queue(seconds)
        queue.add(running, lambda _: only_if(), None)
        try:
            return await work()
        except asyncio.CancelledError:
            if running.is_over and task.uncancel() <= cancelling:
                raise TimeoutError from None
            raise
        finally:
            running.task = None
            queue.drop_ended()

    def _queue(self, seconds: float) -> _Queue:
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = _Queue(seconds, lambda: self._queues.pop(seconds, None))
        return queue
