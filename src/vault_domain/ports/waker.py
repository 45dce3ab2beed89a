"""Waker: waits until the audit log may have grown."""

from typing import Protocol


class Waker(Protocol):
    """Lets a follower of the audit log read the log soon after a change, and rarely otherwise.

    A waker may miss a change, such as one between two calls of `wait`. So the follower also reads the log at an
    interval.
    """

    async def wait(self, seconds: float) -> None:
        """Return when a change during this call may have written events, or after ``seconds`` at the latest."""
