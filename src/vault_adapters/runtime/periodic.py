"""Passes audit events to the host, and runs periodic work, such as storing when tokens were last used."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import anyio

from vault_domain.entities.audit import AuditEvent

_log = logging.getLogger(__name__)


class CallbackSink:
    """Implements `EventSink` over a host's function.

    Args:
        callback: called once per event, after the commit; exceptions that it raises are logged and dropped.
    """

    def __init__(self, callback: Callable[[AuditEvent], object] | None) -> None:
        self._callback = callback

    def publish(self, events: Sequence[AuditEvent]) -> None:
        """Pass the events to the callback."""
        if self._callback is None:
            return
        for event in events:
            try:
                self._callback(event)
            except Exception as error:
                # Log no text and no traceback, because the host's frames may hold secrets.
                _log.error("on_event raised %s for %s", type(error).__qualname__, event.action)


@asynccontextmanager
async def repeating(
    work: Callable[[], Awaitable[None]],
    seconds: float,
    *,
    last: Callable[[], Awaitable[None]] | None = None,
    limit: float | None = None,
) -> AsyncIterator[None]:
    """Run ``work`` every ``seconds`` seconds until the block ends, and then ``last``.

    Args:
        work: an error that it raises is logged, and the next run follows.
        seconds: pause between two runs.
        last: None: ``work``.
        limit: seconds after which ``last`` is cancelled; None: never.
    """

    async def loop() -> None:
        while True:
            await asyncio.sleep(seconds)
            await _logging_errors(work)

    task = asyncio.create_task(loop())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        # Shield it, because a host that is being cancelled still closes the vault.
        with anyio.move_on_after(float("inf") if limit is None else limit, shield=True):
            await _logging_errors(last or work)


async def _logging_errors(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except Exception as error:
        # Log no text and no traceback, because they may hold secrets.
        _log.error("periodic work ended with %s", type(error).__qualname__)
