"""Writes audit events about reads and about values that do not decrypt, and prunes old events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from vault_domain.entities.account import TokenKind
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.errors import StorageError

if TYPE_CHECKING:
    from vault_domain.entities.token import TokenInfo
    from vault_domain.ports.audit_log import Announce, AuditLog, Noticed
    from vault_domain.ports.event_sink import EventSink

_log = logging.getLogger(__name__)

AuditReads = Literal["all", "secrets"]
"""The reads that are audited: all, or only reads of long-lived secrets, which are all kinds except access tokens."""

_READ_SECONDS = 60.0
"""Reads of one value by one actor for one reason within this time are one event."""

_HOUR = timedelta(hours=1)
"""Shortest time between two audit events about one value that does not decrypt."""

_MOST_PENDING = 10_000
"""Largest number of events that wait for the database. Further events are dropped; a log message has their number."""

_COLLECTED = "audit events of reads and failed decryptions"
"""How log messages name the events that this service collects."""

_PRUNE_SECONDS = 3600.0
"""Shortest time between two prunings by the sweeps of one process."""

_BATCH = 1000
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # a placeholder: `AuditLog.append` sets an event's time

_Noted = tuple[AuditEvent, float]
"""An event, and the monotonic time at which it was noted."""


class AuditService:
    """Collects the events that do not belong to a change of the data, and prunes the log.

    A crash loses the events since the last flush.

    Args:
        log: the audit log.
        sink: takes the events of reads and of prunings, after they were stored.
        monotonic: a monotonic clock, in seconds.
        reads: which reads are audited; None: none.
        retention: age from which sweeps prune events; None: never.
    """

    def __init__(
        self,
        log: AuditLog,
        sink: EventSink,
        monotonic: Callable[[], float],
        *,
        reads: AuditReads | None = None,
        retention: timedelta | None = None,
    ) -> None:
        self._audit = log
        self._sink = sink
        self._monotonic = monotonic
        self._reads = reads
        self._retention = retention
        self._seen: dict[tuple[object, ...], float] = {}
        self._pending: list[_Noted] = []
        self._dropped = 0
        self._pruned_at: float | None = None

    def read(self, infos: Iterable[TokenInfo], actor: str | None, reason: str | None) -> None:
        """Record that values were returned to a caller."""
        if self._reads is None:
            return
        for info in infos:
            if self._reads == "all" or info.key.kind is not TokenKind.ACCESS_TOKEN:
                self._note_read(info, actor, reason)

    def _note_read(self, info: TokenInfo, actor: str | None, reason: str | None) -> None:
        event = _of_token(AuditAction.TOKEN_READ, info, actor, reason)
        self._note(event, (info.value_id, actor, reason), _READ_SECONDS)

    def rejected(self, info: TokenInfo, actor: str | None) -> None:
        """Record that a resource rejected a token which is too young for that to change anything."""
        event = _of_token(AuditAction.TOKEN_REJECTED, info, actor)
        self._note(event, (AuditAction.TOKEN_REJECTED, info.value_id), _HOUR.total_seconds())

    def unreadable(self, event: AuditEvent) -> bool:
        """Record that a value did not decrypt; return False if an equal event was noted within the last hour."""
        place = (event.account, event.kind, event.generation, event.code)
        return self._note(event, place, _HOUR.total_seconds())

    def _note(self, event: AuditEvent, place: tuple[object, ...], seconds: float) -> bool:
        now = self._monotonic()
        if now < self._seen.get(place, now):
            return False
        if len(self._pending) >= _MOST_PENDING:
            self._dropped += 1
            return True
        self._seen[place] = now + seconds
        self._pending.append((event, now))
        return True

    async def flush(self) -> None:
        """Store the collected events; if the database fails, keep them for the next flush."""
        pending, self._pending = self._pending, []
        now = self._monotonic()
        self._seen = {place: until for place, until in self._seen.items() if until > now}
        if self._dropped:
            _log.warning("%d %s were dropped, because too many were waiting", self._dropped, _COLLECTED)
            self._dropped = 0
        batches = _batches(pending)
        for number, (batch, apart) in enumerate(batches):
            try:
                change = await self._audit.append(_noticed(batch, now), apart=apart)
            except StorageError as error:
                self._pending = [each for waiting, _ in batches[number:] for each in waiting] + self._pending
                _log.warning("%s wait for the database (%s)", _COLLECTED, error.code)
                return
            # Publish only the events of reads, because hosts already have the events of failed decryptions.
            if apart is None:
                self._sink.publish(change.events)

    async def prune(self, older_than: timedelta, *, actor: str | None, announce: Announce) -> int:
        """Delete events that are older than ``older_than``; return their number."""
        change = await self._audit.prune(older_than, actor=actor, announce=announce)
        self._sink.publish(change.events)
        return change.result

    async def prune_after_sweep(self, *, actor: str | None, announce: Announce) -> None:
        """Prune the log if it has a retention, and if this process did not do so within the last hour."""
        now = self._monotonic()
        is_early = self._pruned_at is not None and now - self._pruned_at < _PRUNE_SECONDS
        if self._retention is None or is_early:
            return
        self._pruned_at = now
        try:
            await self.prune(self._retention, actor=actor, announce=announce)
        except StorageError as error:
            _log.warning("the audit log was not pruned (%s)", error.code)


def _of_token(action: AuditAction, info: TokenInfo, actor: str | None, code: str | None = None) -> AuditEvent:
    from vault_domain.transitions.events import key_event  # a process whose reads are not recorded loads no transition

    return key_event(action, info.key, info.generation or None, _LONG_AGO, actor, code)


def _noticed(batch: list[_Noted], now: float) -> list[Noticed]:
    from vault_domain.ports.audit_log import Noticed

    return [Noticed(event, timedelta(seconds=max(now - noted, 0.0))) for event, noted in batch]


def _batches(pending: list[_Noted]) -> list[tuple[list[_Noted], timedelta | None]]:
    """Divide events into batches that are stored whole or not at all, each with its ``apart`` for `AuditLog.append`."""
    unreadable = [each for each in pending if each[0].action is AuditAction.DECRYPTION_FAILED]
    others = [each for each in pending if each[0].action is not AuditAction.DECRYPTION_FAILED]
    return [
        (events[start : start + _BATCH], apart)
        for events, apart in ((unreadable, _HOUR), (others, None))
        for start in range(0, len(events), _BATCH)
    ]
