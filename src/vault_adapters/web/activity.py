"""Counts refreshes and failures by the hour, from the audit log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import anyio
from attrs import frozen

from vault_domain import AuditEvent, TokenVault

REFRESHED, FAILED = "refreshed", "failed"

_KINDS: Mapping[str, str] = {
    "token_refreshed": REFRESHED,
    "refresh_failing": FAILED,
    "reauthorization_required": FAILED,
}
_KEPT = timedelta(days=8)
_MOST = 10_000
_PAGE, _MOST_PAGES = 2000, 10


@frozen
class Slot:
    """The counts of one period: the time at which it begins, and the number of events of each kind."""

    begins: datetime
    counts: Mapping[str, int]


class Activity:
    """Counts the events of the last eight days; each call of `follow` begins where the last call ended.

    Attributes:
        counted_from: the time before which no events were counted, UTC; None if all of the eight days are counted.
        is_complete: whether the latest `follow` read the log to its end.
    """

    def __init__(self) -> None:
        self._lock = anyio.Lock()
        self._begun = False
        self._after: str | None = None
        self._hours: dict[datetime, Counter[str]] = {}
        self.counted_from: datetime | None = None
        self.is_complete = False

    async def follow(self, vault: TokenVault) -> Activity:
        """Count the new events and return this object.

        A visitor waits for the web page, so a call counts at most 20,000 events, or 30,000 if it is the first.
        """
        async with self._lock:
            if not self._begun:
                await self._begin(vault)
            for _ in range(_MOST_PAGES):
                page = await vault.audit_events(limit=_PAGE, after=self._after)
                for event in page.items:
                    self._count(event)
                    self._after = event.cursor
                self.is_complete = page.next is None
                if self.is_complete:
                    break
            self._forget()
        return self

    async def _begin(self, vault: TokenVault) -> None:
        """Begin with the latest events, because the log may go back for years."""
        page = await vault.latest_audit_events(since=datetime.now(UTC) - _KEPT, limit=_MOST)
        for event in page.items:
            self._count(event)
        self._after, self._begun = page.next, True
        if len(page.items) == _MOST:
            self.counted_from = page.items[0].occurred_at

    def slots(self, now: datetime, *, count: int, hours: int) -> list[Slot]:
        """Return the counts of the last ``count`` periods of ``hours`` hours each, the present period last."""
        size = timedelta(hours=hours)
        newest = _hour(now) - timedelta(hours=_hour(now).hour % hours)
        found: list[Slot] = []
        for at in range(count - 1, -1, -1):
            begins = newest - size * at
            total: Counter[str] = Counter()
            for offset in range(hours):
                total.update(self._hours.get(begins + timedelta(hours=offset), {}))
            found.append(Slot(begins, dict(total)))
        return found

    def _count(self, event: AuditEvent) -> None:
        kind = _KINDS.get(event.action.value)
        # A refresh has one event. If the refresh stored no access token, the event has another kind; do not count it.
        if kind == REFRESHED and event.kind is not None and event.kind.value != "access_token":
            return
        if kind is not None:
            self._hours.setdefault(_hour(event.occurred_at), Counter())[kind] += 1

    def _forget(self) -> None:
        oldest = datetime.now(UTC) - _KEPT
        for hour in [hour for hour in self._hours if hour < oldest]:
            del self._hours[hour]


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
