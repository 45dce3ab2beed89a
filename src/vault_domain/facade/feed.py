"""`EventFeed`: follows the audit log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.page import Page
from vault_domain.entities.scrub import scrubbed_async
from vault_domain.ports.waker import Waker


class EventFeed:
    """Yields pages of the audit log as events come, without end: ``async for page in vault.event_feed(...)``.

    No event is lost, because each page begins where the previous page ended. A host stores the ``cursor`` of an event
    when it has handled the event, and passes this cursor as ``after`` when it starts again. An event that the host has
    handled without storing the cursor comes again. The feed reads the log at an interval; on Postgres, notifications
    wake it earlier.

    Attributes:
        cursor: the cursor of the last event that the feed has returned. Until the feed has returned an event, this is
            the cursor that was passed as ``after``; None: the feed begins at the beginning of the log.
    """

    def __init__(
        self,
        fetch: Callable[[str | None], Awaitable[Page[AuditEvent]]],
        waker: Waker,
        *,
        after: str | None,
        interval: timedelta,
    ) -> None:
        self._fetch = fetch
        self._waker = waker
        self._seconds = interval.total_seconds()
        self.cursor = after

    def __aiter__(self) -> EventFeed:
        return self

    @scrubbed_async
    async def __anext__(self) -> Page[AuditEvent]:
        """Wait for the next events and return them; the page is never empty."""
        while True:
            page = await self._fetch(self.cursor)
            if page.items:
                self.cursor = page.items[-1].cursor
                return page
            await self._waker.wait(self._seconds)
