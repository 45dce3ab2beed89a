"""Notices when the database's clock is set, by comparing it with this process's monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

TOLERANCE_SECONDS = 5.0
"""A smaller step of the clock does no harm, because a lease, or the quiescence after it, is longer than such a step."""


class ClockWatch:
    """Tells how long ago the database's clock was last set, as far as this process can know.

    The difference between the database's clock and the monotonic clock is constant, except for steps and a slow drift.
    A reading shows this difference only within bounds, because the answer takes time to arrive. So a step is noticed
    when the bounds of a reading lie outside of those of the earlier readings, by more than `TOLERANCE_SECONDS`.

    Args:
        monotonic: returns the process's monotonic time in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._bounds: tuple[float, float] | None = None
        self._set_at: float | None = None

    def read(self, now: datetime, asked: float) -> None:
        """Note the database's time ``now``, from the answer to a query that began at the monotonic time ``asked``."""
        answered, seconds = self.monotonic(), now.timestamp()
        least, most = seconds - answered, seconds - asked
        if self._bounds is not None:
            known_least, known_most = self._bounds
            if least > known_most + TOLERANCE_SECONDS or most < known_least - TOLERANCE_SECONDS:
                self._set_at = answered
            elif max(least, known_least) <= min(most, known_most):
                least, most = max(least, known_least), min(most, known_most)
        self._bounds = least, most

    def seconds_since_step(self) -> float | None:
        """Return the time since this process noticed the last step, or None if it noticed none."""
        return None if self._set_at is None else self.monotonic() - self._set_at
