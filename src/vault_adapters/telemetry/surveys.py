"""Takes the census of a vault in the background and remembers it, because a census reads the whole database."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from vault_domain.entities.measures import Census
from vault_domain.facade.measures import VaultMeasures

_log = logging.getLogger(__name__)

LEAST_SECONDS = 60.0
"""Shortest time in seconds between two censuses."""

_LEAST_SHARE = 50
"""The time until the next census is at least this many times as long as the last census took."""


class Surveyor:
    """Remembers the last census. It takes a new one only if `latest` is called and the last census is old.

    Args:
        measures: takes the census.
        loop: the event loop of the vault.
    """

    def __init__(self, measures: VaultMeasures, loop: asyncio.AbstractEventLoop) -> None:
        self._measures = measures
        self._loop = loop
        self._census: Census | None = None
        self._taken_at = 0.0
        self._next_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def latest(self) -> tuple[Census, float] | None:
        """Return, at once, the last census and the seconds since it began; None if none has finished.

        Any thread may call this.
        """
        now = time.monotonic()
        if now >= self._next_at and not self._measures.is_closed:
            self._next_at = now + LEAST_SECONDS
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._begin)
        census = self._census
        return None if census is None else (census, now - self._taken_at)

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._take())

    async def _take(self) -> None:
        began = time.monotonic()
        try:
            census = await self._measures.census()
        except Exception as error:
            # Log neither the error's text nor its traceback, because they may hold secrets.
            _log.info("no census could be taken (%s)", type(error).__qualname__)
            return
        now = time.monotonic()
        self._census, self._taken_at = census, began
        self._next_at = now + max(LEAST_SECONDS, _LEAST_SHARE * (now - began))
