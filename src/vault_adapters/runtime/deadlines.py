"""Uses few timers to limit the time of many short calls."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from attrs import define

T = TypeVar("T")


@define(eq=False)
class _Call:
    task: asyncio.Task[object] | None  # None as soon as the call has ended
    due: float
    cancelling: int
    only_if: Callable[[], bool] | None
    is_over: bool = False


class Deadlines:
    """Ends calls after some seconds with `TimeoutError`, as `asyncio.timeout` does.

    A timer for each call would be a fifth of the cost of a read. Calls with the same limit run out of time in the
    order in which they began, so one queue and one timer serve all of them. The timer stays set while calls come
    and go.
    """

    def __init__(self) -> None:
        self._queues: dict[float, deque[_Call]] = {}

    async def within(
        self, seconds: float, work: Callable[[], Awaitable[T]], only_if: Callable[[], bool] | None = None
    ) -> T:
        """Run ``work``; cancel it after ``seconds`` seconds.

        Args:
            seconds: the limit.
            work: the call.
            only_if: called when the time has run out; if it returns False, ``work`` goes on without a limit.

        Raises:
            TimeoutError: the time ran out and ``work`` was cancelled.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - a coroutine of the vault runs in a task
        call = _Call(task, loop.time() + seconds, task.cancelling(), only_if)
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = deque()
            loop.call_at(call.due, self._ring, loop, seconds, queue)
        queue.append(call)
        try:
            return await work()
        except asyncio.CancelledError:
            if call.is_over and task.uncancel() <= call.cancelling:
                raise TimeoutError from None
            raise
        finally:
            call.task = None
            while queue and queue[0].task is None:
                queue.popleft()

    def _ring(self, loop: asyncio.AbstractEventLoop, seconds: float, queue: deque[_Call]) -> None:
        now = loop.time()
        while queue and queue[0].due <= now:
            call = queue.popleft()
            if call.task is not None and (call.only_if is None or call.only_if()):
                call.is_over = True
                call.task.cancel()
        if queue:
            loop.call_at(queue[0].due, self._ring, loop, seconds, queue)
        else:
            del self._queues[seconds]
