"""Keeps answers of providers that the database has not stored yet, so that this process's reads can use them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import evolve, frozen

from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.audit import READ_ACTIONS, AuditEvent
from vault_domain.entities.token import NO_VALUE, DamagedToken, StoredToken, TokenInfo, TokenRef, TokenStatus
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.journal import JournalEntry
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_repository import Reading


@frozen
class Moment:
    """One moment on two clocks: the store's time, and this process's monotonic time in seconds."""

    store_time: datetime
    monotonic: float


@frozen
class Held:
    """A provider's answer that the database has not stored yet: a waiting answer.

    Attributes:
        entry: the sealed answer.
        seen_at: a moment from which the store's present time is computed; None for an entry of an earlier process,
            until the store's time is known.
        journaled: whether the journal holds the entry, so that the answer's token may be handed out.
        genuine: whether the entry is known to be this vault's.
        changed: whether this process has changed the account since it began to commit or to keep the answer; if so,
            only the store knows the current token.
        refused: whether a resource rejected the answer's access token, so that this token is not handed out.
    """

    entry: JournalEntry
    seen_at: Moment | None
    journaled: bool
    genuine: bool = True
    changed: bool = False
    refused: bool = False

    @property
    def account(self) -> Account:
        """The account of the answer."""
        return self.entry.attempt.account

    def is_same(self, other: Held | None) -> bool:
        """Return whether ``other`` concerns the same answer; its attributes may differ."""
        return other is not None and other.entry.attempt.attempt_id == self.entry.attempt.attempt_id


class HeldAnswers:
    """The answers that the database has not stored yet, one per account.

    Attributes:
        waiting: these answers, by account. Each read of a token asks whether there are any.
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self.waiting: dict[Account, Held] = {}
        self._begun: dict[Account, Held] = {}

    def __contains__(self, account: Account) -> bool:
        """Return whether an answer of this account waits."""
        return bool(self.waiting) and account in self.waiting

    def __len__(self) -> int:
        """Return how many answers wait."""
        return len(self.waiting)

    def get(self, account: Account) -> Held | None:
        """Return the account's waiting answer."""
        return self.waiting.get(account)

    def all(self) -> list[Held]:
        """Return all waiting answers."""
        return list(self.waiting.values())

    def begin(self, held: Held) -> None:
        """Note changes of an answer's account from now on.

        The answer counts as waiting only if its first commit fails.
        """
        self._begun[held.account] = held

    def put(self, held: Held) -> None:
        """Keep a waiting answer, in place of an earlier one of its account."""
        begun = self._begun.pop(held.account, None)
        changed = held.changed or (begun is not None and begun.changed)
        self.waiting[held.account] = evolve(held, changed=changed)

    def note(self, held: Held, **changes: Any) -> Held | None:
        """Change attributes of a waiting answer and return it; return None if the answer no longer waits."""
        current = self.waiting.get(held.account)
        if current is None or not held.is_same(current):
            return None
        self.waiting[held.account] = evolve(current, **changes)
        return self.waiting[held.account]

    def refuse(self, info: TokenInfo) -> None:
        """Note that a resource rejected this value, so that it is not handed out while its answer waits."""
        held = self.waiting.get(info.key.account)
        row = None if held is None else predicted(held.entry)
        if held is not None and row is not None and TokenRef.of(row.info) == TokenRef.of(info):
            self.note(held, refused=True)

    def drop(self, held: Held) -> None:
        """Forget an answer."""
        self._begun.pop(held.account, None)
        if held.is_same(self.waiting.get(held.account)):
            del self.waiting[held.account]

    def store_time(self, held: Held) -> datetime | None:
        """Return the store's time as far as this process can tell it; None if it cannot."""
        if held.seen_at is None:
            return None
        passed = self._tasks.monotonic() - held.seen_at.monotonic
        return held.seen_at.store_time + timedelta(seconds=passed)

    def over(self, key: TokenKey, row: StoredToken | DamagedToken | None) -> StoredToken | DamagedToken | None:
        """Return the row that a reader of ``key`` gets: the waiting access token, else ``row``.

        The reader gets the waiting access token if the store still holds the value that the answer replaces, the
        journal holds the answer, the answer is known to be genuine, and no resource rejected the token. So a reader
        does not get an older token than an earlier caller of this process got.
        """
        held = self.waiting.get(key.account) if self.waiting else None
        if held is None or not held.journaled or not held.genuine or held.refused or not replaces(held, key, row):
            return row
        return predicted(held.entry) or row

    def alone(self, key: TokenKey) -> Reading | None:
        """Return the waiting token for a reader of ``key`` while the database does not answer, or None."""
        held = self.waiting.get(key.account) if self.waiting else None
        if held is None or key.kind is not TokenKind.ACCESS_TOKEN:
            return None
        if not held.journaled or not held.genuine or held.changed or held.refused:
            return None
        row, now = predicted(held.entry), self.store_time(held)
        return None if row is None or now is None or row.info.is_expired(now) else Reading.of(row, now)

    def watching(self, sink: EventSink) -> EventSink:
        """Return a sink that passes events on, and first calls `note_changes` with them."""
        return _WatchingSink(self, sink)

    def note_changes(self, events: Sequence[AuditEvent]) -> None:
        """Mark each answer as changed if one of these events changes its account.

        An event without an account concerns all accounts of its tenant; an event without a tenant, all accounts.
        """
        for event in events if self.waiting or self._begun else ():
            if event.action not in READ_ACTIONS:
                for answers in (self.waiting, self._begun):
                    answers.update({held.account: evolve(held, changed=True) for held in _concerned(event, answers)})


def _concerned(event: AuditEvent, answers: dict[Account, Held]) -> list[Held]:
    if event.account is not None:
        return [answers[event.account]] if event.account in answers else []
    return [held for held in answers.values() if event.tenant_id in (None, held.account.tenant_id)]


class _WatchingSink:
    def __init__(self, held: HeldAnswers, sink: EventSink) -> None:
        self._held, self._sink = held, sink

    def publish(self, events: Sequence[AuditEvent]) -> None:
        self._held.note_changes(events)
        self._sink.publish(events)


def replaces(held: Held, key: TokenKey, row: StoredToken | DamagedToken | None) -> bool:
    """Return whether a commit of the answer would replace this row of an access token."""
    if key.kind is not TokenKind.ACCESS_TOKEN or isinstance(row, DamagedToken):
        return False
    return (None if row is None else TokenRef.of(row.info)) == held.entry.attempt.access


def predicted(entry: JournalEntry) -> StoredToken | None:
    """Return the access token of an answer as the store will store it; None if the answer has none."""
    attempt = entry.attempt
    write = next((write for write in entry.writes if write.key.kind is TokenKind.ACCESS_TOKEN), None)
    if write is None:
        return None
    info = TokenInfo(
        id=attempt.access.id if attempt.access else attempt.attempt_id,
        key=write.key,
        status=TokenStatus.VALID,
        error_code=None,
        expires_at=write.expires_at,
        scopes=write.scopes or (),
        generation=0,  # another writer may store a value meanwhile, so this value's number is not known
        last_used_at=None,
        last_refreshed_at=attempt.claimed_at,
        lifetime=write.lifetime,
        created_at=attempt.claimed_at,
        updated_at=attempt.claimed_at,
        value_id=write.value_id or NO_VALUE,
    )
    return StoredToken(info, write.sealed)
