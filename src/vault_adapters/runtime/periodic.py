"""What a running vault does on its own: tell the host of events, and flush uses now and then."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from vault_domain.entities.audit import AuditEvent

_log = logging.getLogger(__name__)


class CallbackSink:
    """Implements `EventSink` over a host's function.

    Args:
        callback: called once per event, after the commit; what it raises is logged and goes no further.
    """

    def __init__(self, callback: Callable[[AuditEvent], object] | None) -> None:
        self._callback = callback

    def publish(self, events: Sequence[AuditEvent]) -> None:
        """Hand the events on."""
        if self._callback is None:
            return
        for event in events:
            try:
                self._callback(event)
            except Exception as error:
                # Without its text and traceback: the host's frames may hold anything.
                _log.error("on_event raised %s for %s", type(error).__qualname__, event.action)


@asynccontextmanager
async def repeating(work: Callable[[], Awaitable[None]], seconds: float) -> AsyncIterator[None]:
    """Run ``work`` every so many seconds while the context lasts, and once more at its end."""

    async def loop() -> None:
        while True:
            await asyncio.sleep(seconds)
            await work()

    task = asyncio.create_task(loop())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await work()
