"""Uses few timers to limit the time of many short calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from attrs import define

T = TypeVar("T")


class _Endable(Protocol):
    """What a deadline can end: a future, or a call that a task awaits (`_Running`)."""

    def done(self) -> bool: ...

    def set_exception(self, exception: BaseException, /) -> None: ...


# A call, the event loop's time at which its time runs out, and `only_if`. It is a bare tuple, because each read makes
# one.
_Deadline = tuple[_Endable, float, Callable[[], bool] | None]


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


class Deadlines:
    """Ends calls after some seconds with `TimeoutError`, as `asyncio.timeout` does.

    A timer for each call would be a fifth of the cost of a read. Calls with the same limit run out of time in the
    order in which they began, so one queue and one timer serve all of them. The timer stays set while calls come
    and go.
    """

    def __init__(self) -> None:
        self._queues: dict[float, deque[_Deadline]] = {}

    def limited(self, seconds: float, call: Awaitable[T], only_if: Callable[[], bool] | None = None) -> Awaitable[T]:
        """Return an awaitable that gives the result of ``call``, if it comes within ``seconds`` seconds.

        If ``call`` is a plain future, and not a task, it is returned, and gets the error when its time runs out. For
        any other awaitable, the task that awaits the result is cancelled, which costs more.

        Args:
            seconds: the limit. For a plain future it counts from this call, otherwise from the moment when the result
                is awaited.
            call: any awaitable. Nobody else may await it.
            only_if: called when the time has run out; if it returns False, the call goes on without a limit.

        Raises:
            TimeoutError: raised when the result is awaited: the time ran out, and the call was ended.
        """
        if not isinstance(call, asyncio.Future) or isinstance(call, asyncio.Task):
            return self.within(seconds, lambda: call, only_if)
        self._begin(seconds, call, only_if)
        return call

    async def within(
        self, seconds: float, work: Callable[[], Awaitable[T]], only_if: Callable[[], bool] | None = None
    ) -> T:
        """Run ``work``; cancel it after ``seconds`` seconds.

        Args:
            seconds: the limit.
            work: the call.
            only_if: see `limited`.

        Raises:
            TimeoutError: the time ran out and ``work`` was cancelled.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of the vault runs in a task
        running, cancelling = _Running(task), task.cancelling()
        queue = self._begin(seconds, running, only_if)
        try:
            return await work()
        except asyncio.CancelledError:
            if running.is_over and task.uncancel() <= cancelling:
                raise TimeoutError from None
            raise
        finally:
            running.task = None
            _drop_ended(queue)

    def _begin(self, seconds: float, call: _Endable, only_if: Callable[[], bool] | None) -> deque[_Deadline]:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = deque()
            loop.call_at(due, self._ring, loop, seconds, queue)
        else:
            _drop_ended(queue)
        queue.append((call, due, only_if))
        return queue

    def _ring(self, loop: asyncio.AbstractEventLoop, seconds: float, queue: deque[_Deadline]) -> None:
        now = loop.time()
        try:
            while queue and (queue[0][1] <= now or queue[0][0].done()):
                call, _, only_if = queue.popleft()
                if not call.done() and (only_if is None or only_if()):
                    call.set_exception(TimeoutError())
        finally:  # an error of `only_if` must not leave the other calls without a timer
            if queue:
                loop.call_at(queue[0][1], self._ring, loop, seconds, queue)
            else:
                del self._queues[seconds]


def _drop_ended(queue: deque[_Deadline]) -> None:
    while queue and queue[0][0].done():
        queue.popleft()
