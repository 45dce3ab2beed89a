"""What happened in a world, for the people who read a failing seed."""

from collections import deque

_MOST_LINES = 4000


class History:
    """Lines with time and process; the latest are kept.

    Args:
        now: returns the virtual time in seconds.
        is_kept: False drops all lines, for speed.
    """

    def __init__(self, now, *, is_kept):
        self._now, self._is_kept = now, is_kept
        self._lines = deque(maxlen=_MOST_LINES)

    def add(self, who, text):
        """Add a line."""
        if self._is_kept:
            self._lines.append(f"{_shown(self._now())}  {who:<12} {text}")

    def text(self):
        """Return the kept lines."""
        return "\n".join(self._lines)


def _shown(seconds):
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(int(minutes), 60)
    day, hour = divmod(hours, 24)
    return f"{day:3d}d {hour:02d}:{minute:02d}:{second:06.3f}"
