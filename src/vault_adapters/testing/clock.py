"""A clock that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed, scrubbed_class
from vault_domain.entities.text import as_time

_START = datetime(2030, 1, 1, tzinfo=UTC)


@scrubbed_class
class ManualClock:
    """A clock for tests: pass it to `open_vault`, and all expiries, leases and timestamps follow it.

    It implements `Clock`.

    Args:
        now: the time that the clock shows at first; it must have a time zone.
    """

    def __init__(self, now: datetime = _START) -> None:
        self.set(now)

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return self._now

    @scrubbed
    def advance(self, by: timedelta) -> datetime:
        """Move the time forward, or back if ``by`` is negative, and return the new time."""
        if not isinstance(by, timedelta):
            raise InvalidInputError("by must be a timedelta")
        self.set(self._now + by)
        return self._now

    @scrubbed
    def set(self, now: datetime) -> None:
        """Set the time, which must have a time zone."""
        moment = as_time(now, "now")
        if moment is None:
            raise InvalidInputError("now must be a datetime with a time zone")
        self._now = moment

    def __repr__(self) -> str:
        return f"ManualClock({self._now.isoformat()})"
