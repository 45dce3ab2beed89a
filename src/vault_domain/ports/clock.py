"""Clock: replaces the database's time in tests."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time that the vault stores, and by which it judges expiry and leases."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
