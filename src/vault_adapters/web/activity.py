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
_PAGE, _MOST_PAGES = 2000, 10


@frozen
class Slot:
    """The counts of one stretch of time."""

    begins: datetime
    counts: Mapping[str, int]


class Activity:
    """Follows the audit log, so that a page reads only the events that are new since the page before."""

    def __init__(self) -> None:
        self._lock = anyio.Lock()
        self._after: str | None = None
        self._hours: dict[datetime, Counter[str]] = {}
        self.counted_to: datetime | None = None
        self.is_complete = False

    async def follow(self, vault: TokenVault) -> Activity:
        """Read the events that are new, but no more than a page can wait for; return this object."""
        async with self._lock:
            for _ in range(_MOST_PAGES):
                page = await vault.audit_events(limit=_PAGE, after=self._after)
                for event in page.items:
                    self._count(event)
                if page.items:
                    self._after, self.counted_to = page.items[-1].cursor, page.items[-1].occurred_at
                self.is_complete = page.next is None
                if self.is_complete:
                    break
                await anyio.lowlevel.checkpoint()
            self._forget()
        return self

    def slots(self, now: datetime, *, count: int, hours: int) -> list[Slot]:
        """Return the counts of the last ``count`` stretches of ``hours`` hours each, the present one last."""
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
        # A refresh may change several tokens of an account; the access token stands for all of them.
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
