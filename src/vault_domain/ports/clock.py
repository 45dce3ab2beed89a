"""Clock: replaces the database's time in tests."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time that decides expiry, leases and stored timestamps."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
