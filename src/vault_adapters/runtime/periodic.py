"""Passes audit events to the host's callback, and runs periodic work, such as the storing of times of last use."""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import anyio

from vault_adapters.runtime.forks import OwnProcess
from vault_domain.entities.audit import AuditEvent

_log = logging.getLogger(__name__)


_MOST_WAITING = 10_000
"""Largest number of the callback's awaitables that have not begun. Beyond it, events are only logged."""


class CallbackSink:
    """Implements `EventSink` over a host's function.

    Args:
        callback: called at most once per event, after the commit; None: events are not passed on. An error that the
            callback raises is logged and dropped. If the callback returns awaitables, these run one after the other, in
            the order of the events.
    """

    def __init__(self, callback: Callable[[AuditEvent], object] | None) -> None:
        self._callback = callback
        self._waiting: deque[tuple[Awaitable[object], AuditEvent]] = deque()
        self._task: asyncio.Task[None] | None = None

    def publish(self, events: Sequence[AuditEvent]) -> None:
        """Pass the events to the callback; log the events that the callback is too slow for."""
        if self._callback is None:
            return
        for event in events:
            if len(self._waiting) >= _MOST_WAITING:
                _log.error("on_event is too slow, so the event %s was not passed to it", event.action)
                continue
            try:
                result = self._callback(event)
            except Exception as error:
                _report(error, event)
                continue
            if inspect.isawaitable(result):
                self._waiting.append((result, event))
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def aclose(self, seconds: float) -> None:
        """Wait for the callback's awaitables, ``seconds`` at most; then cancel the remaining ones."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=seconds)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for waiting, _ in self._waiting:
            if inspect.iscoroutine(waiting):
                waiting.close()

    async def _run(self) -> None:
        while self._waiting:
            waiting, event = self._waiting.popleft()
            try:
                await waiting
            except Exception as error:
                _report(error, event)


def _report(error: Exception, event: AuditEvent) -> None:
    # Log neither the error's text nor its traceback, because the host's frames may hold secrets.
    _log.error("on_event raised %s for %s", type(error).__qualname__, event.action)


@asynccontextmanager
async def repeating(
    work: Callable[[], Awaitable[None]],
    seconds: float,
    *,
    last: Callable[[], Awaitable[None]] | None = None,
    limit: float | None = None,
) -> AsyncIterator[None]:
    """Run ``work`` again and again until the block ends, and then run ``last`` once.

    If ``work`` or ``last`` raises an error, the error is logged; ``work`` runs again after the next pause.

    Args:
        work: the work; a run that has not ended when the block ends is cancelled.
        seconds: pause before each run of ``work``.
        last: the work to do after the block; None: ``work``.
        limit: seconds after which ``last`` is cancelled; None: never.
    """

    async def loop() -> None:
        while True:
            await asyncio.sleep(seconds)
            await _logging_errors(work)

    task, process = asyncio.create_task(loop()), OwnProcess()
    try:
        yield
    finally:
        if process.is_here:
            await _ended(task, last or work, limit)


async def _ended(task: asyncio.Task[None], last: Callable[[], Awaitable[None]], limit: float | None) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    # Shield `last`, because it must also run if the host is being cancelled.
    with anyio.move_on_after(float("inf") if limit is None else limit, shield=True):
        await _logging_errors(last)


async def _logging_errors(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception as error:
        # Log neither the error's text nor its traceback, because they may hold secrets.
        _log.error("periodic work failed with %s", type(error).__qualname__)
