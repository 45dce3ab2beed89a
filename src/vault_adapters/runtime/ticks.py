"""Counts the ticks of a timer, so that many calls can have a limit without asking for the time."""

import asyncio
import math
from collections.abc import Callable

_TICKS = 10
"""Number of ticks in which a limit passes."""

_MOST_AT_ONCE = 3
"""Largest number of ticks that are counted at once, if the event loop lags or the process was suspended.

After a suspension, all limits may have passed, although answers have arrived meanwhile. So the event loop gets a few
rounds to read them.
"""


class Ticks:
    """Ticks ten times within a limit, as long as this is needed.

    A call notes `number` when it begins. At the eleventh tick after that, `is_over` returns True: up to a tenth of the
    limit late, and a few rounds of the event loop.

    Args:
        seconds: the limit; infinity: it never passes, and no timer runs.
        most_at_once: largest number of ticks that are counted at once, if the event loop lags. With 1, the time does
            not count in which this process was too busy to read an answer.
        on_tick: called after each tick.
        is_needed: called after ``on_tick``, also if ``on_tick`` raised an error; if it returns False, the ticks end.

    Attributes:
        number: the number of ticks so far.
        is_running: whether `begin` was called and the ticks have not ended. If the limit is infinite, it stays True.
    """

    def __init__(
        self,
        seconds: float,
        on_tick: Callable[[], None],
        is_needed: Callable[[], bool],
        *,
        most_at_once: int = _MOST_AT_ONCE,
    ) -> None:
        self._most_at_once = most_at_once
        self._seconds = seconds / _TICKS
        self._on_tick = on_tick
        self._is_needed = is_needed
        self._due = 0.0
        self.number = 0
        self.is_running = False

    def begin(self) -> None:
        """Begin to tick; the caller has found that `is_running` is False."""
        self.is_running = True
        if self._seconds < math.inf:
            loop = asyncio.get_running_loop()
            self._ring_at(loop, loop.time() + self._seconds)

    def is_over(self, began: int) -> bool:
        """Return whether the limit has passed for a call that noted ``began``."""
        return self.number - began > _TICKS

    def _ring_at(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._due = due
        loop.call_at(due, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        # The next ring is due at a multiple of a tick, whenever this one came; otherwise the delays would add up.
        passed = 1 + int((loop.time() - self._due) / self._seconds) if self._seconds > 0 else 1
        self.number += min(passed, self._most_at_once)
        try:
            self._on_tick()
        finally:
            self.is_running = self._is_needed()
            if self.is_running:
                self._ring_at(loop, self._due + passed * self._seconds)
