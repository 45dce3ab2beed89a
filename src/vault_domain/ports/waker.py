"""Waker: waits until the audit log may have grown."""

from typing import Protocol


class Waker(Protocol):
    """Saves time and queries; a follower of the log also reads it at an interval, without being woken."""

    async def wait(self, seconds: float) -> None:
        """Return when events may have been written since the last call, or after this time at the latest."""
