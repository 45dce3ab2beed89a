"""Clock: replaces the database's time, in tests."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time by which expiry, leases and stamps go."""

    def now(self) -> datetime:
        """Return the time, in UTC."""
