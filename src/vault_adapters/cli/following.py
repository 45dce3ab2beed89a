"""Follows the audit log for a command, through outages of the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from vault_adapters.cli.failures import complain
from vault_domain import AuditEvent, EventFeed, StorageError

_PAUSE_SECONDS = 1.0
"""Time between two reads of the log while the database does not answer."""


async def follow_feed(feed: EventFeed, show: Callable[[Sequence[AuditEvent]], None]) -> None:
    """Show the events of a feed for ever.

    An outage of the database does not end this function, because operators follow the log during outages. The feed
    keeps its cursor, so no event is lost.

    Raises:
        StorageError: the database failed, and another try would fail too (``retryable`` is False).
    """
    is_away = False
    while True:
        try:
            page = await anext(feed)
        except StorageError as error:
            if not error.retryable:
                raise
            if not is_away:
                complain(f"{error}; new events are shown when the database is back")
            is_away = True
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            is_away = False
            show(page.items)
