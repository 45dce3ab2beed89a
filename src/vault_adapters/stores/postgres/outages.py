"""Remembers when this process could not reach the database."""

from __future__ import annotations

import time

_SHORTEST_SECONDS = 1.0
"""A shorter interruption, such as a single lost connection, does not count as an outage."""


class OutageTracker:
    """Tells the time since the end of the last outage that this process saw. All times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._failed_since: float | None = None
        self._ended_at: float | None = None

    def failed(self, since: float) -> None:
        """Record a connection that was lost or could not be made.

        Args:
            since: when the lost connection was taken from the pool, or when the caller asked for a connection.
        """
        if self._failed_since is None:
            self._failed_since = since

    def worked(self) -> None:
        """Record that the database answered."""
        if self._failed_since is None:
            return
        now = time.monotonic()
        if now - self._failed_since >= _SHORTEST_SECONDS:
            self._ended_at = now
        self._failed_since = None

    def seconds_since_end(self) -> float | None:
        """Return the time since the end of the last outage, or None if there was none."""
        return None if self._ended_at is None else time.monotonic() - self._ended_at
