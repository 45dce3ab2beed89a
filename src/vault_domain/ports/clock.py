"""Clock: replaces the database's time in tests."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time by which the vault judges expiry and leases, and which it stores."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
