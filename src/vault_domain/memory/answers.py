"""The answers of providers that this process keeps: each waits for the database, is committed, and is dropped.

- A *waiting* answer is not stored yet. This process's reads use it.
- A *committed* answer is kept for a while, because a store that fails over may lose its commit: a standby that lags
  lacks the last commits of its primary. After its promotion, it still stores the credential that the answer has
  replaced. The process that got the answer still has it, sealed, and commits it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import evolve

from vault_domain.entities.account import TokenKind
from vault_domain.entities.audit import READ_ACTIONS
from vault_domain.entities.token import NO_VALUE, DamagedToken, StoredToken, TokenInfo, TokenRef, TokenStatus
from vault_domain.ports.readings import Reading

if TYPE_CHECKING:
    from uuid import UUID

    from vault_domain.entities.account import Account, TokenKey
    from vault_domain.entities.audit import AuditEvent
    from vault_domain.memory.answer import Answer, Committed
    from vault_domain.ports.accounts import Snapshot
    from vault_domain.ports.event_sink import EventSink
    from vault_domain.ports.journal import JournalEntry
    from vault_domain.ports.tasks import Tasks

_MOST = 20_000
"""Largest number of committed answers; beyond it, the oldest is dropped. An answer takes about two kilobytes."""


class Answers:
    """The answers of this process: those that wait, one per account, and those that were committed lately.

    Args:
        tasks: tells the monotonic time.
        hold: time in seconds for which an answer is kept after its commit; 0 keeps none.

    Attributes:
        waiting: the waiting answers, by account. Each read of a token asks whether there are any.
    """

    def __init__(self, tasks: Tasks, hold: float = 0.0) -> None:
        self._tasks = tasks
        self._hold = hold
        self.waiting: dict[Account, Answer] = {}
        self._begun: dict[Account, Answer] = {}
        self._committed: dict[UUID, Committed] = {}  # in the order in which their hold ends
        self._committed_of: dict[Account, list[UUID]] = {}

    # Waiting answers

    def __contains__(self, account: Account) -> bool:
        """Return whether an answer of this account waits."""
        return bool(self.waiting) and account in self.waiting

    def __len__(self) -> int:
        """Return how many answers wait."""
        return len(self.waiting)

    def get(self, account: Account) -> Answer | None:
        """Return the account's waiting answer."""
        return self.waiting.get(account)

    def all(self) -> list[Answer]:
        """Return all waiting answers."""
        return list(self.waiting.values())

    def begin(self, answer: Answer) -> None:
        """Note changes of an answer's account from now on.

        The answer counts as waiting only if its first commit fails.
        """
        self._begun[answer.account] = answer

    def wait(self, answer: Answer) -> None:
        """Keep a waiting answer, in place of an earlier one of its account."""
        begun = self._begun.pop(answer.account, None)
        changed = answer.changed or (begun is not None and begun.changed)
        self.waiting[answer.account] = evolve(answer, changed=changed)

    def note(self, answer: Answer, **changes: Any) -> Answer | None:
        """Change attributes of a waiting answer and return it; return None if the answer no longer waits."""
        current = self.waiting.get(answer.account)
        if current is None or not answer.is_same(current):
            return None
        self.waiting[answer.account] = evolve(current, **changes)
        return self.waiting[answer.account]

    def refuse(self, info: TokenInfo) -> None:
        """Note that a resource rejected this value, so that it is not handed out while its answer waits."""
        answer = self.waiting.get(info.key.account)
        row = None if answer is None else predicted(answer.entry)
        if answer is not None and row is not None and TokenRef.of(row.info) == TokenRef.of(info):
            self.note(answer, refused=True)

    def drop(self, answer: Answer) -> None:
        """Forget an answer."""
        self._begun.pop(answer.account, None)
        if answer.is_same(self.waiting.get(answer.account)):
            del self.waiting[answer.account]

    def store_time(self, answer: Answer) -> datetime | None:
        """Return the store's time as far as this process can tell it; None if it cannot."""
        if answer.seen_at is None:
            return None
        passed = self._tasks.monotonic() - answer.seen_at.monotonic
        return answer.seen_at.store_time + timedelta(seconds=passed)

    def over(self, key: TokenKey, row: StoredToken | DamagedToken | None) -> StoredToken | DamagedToken | None:
        """Return the row that a reader of ``key`` gets: the waiting access token, else ``row``.

        The reader gets the waiting access token if the store still holds the value that the answer replaces, the
        journal holds the answer, the answer is known to be genuine, and no resource rejected the token. So a reader
        does not get an older token than an earlier caller of this process got.
        """
        answer = self.waiting.get(key.account) if self.waiting else None
        if (
            answer is None
            or not answer.journaled
            or not answer.genuine
            or answer.refused
            or not replaces(answer, key, row)
        ):
            return row
        return predicted(answer.entry) or row

    def alone(self, key: TokenKey) -> Reading | None:
        """Return the waiting token for a reader of ``key`` while the database does not answer, or None."""
        answer = self.waiting.get(key.account) if self.waiting else None
        if answer is None or key.kind is not TokenKind.ACCESS_TOKEN:
            return None
        if not answer.journaled or not answer.genuine or answer.changed or answer.refused:
            return None
        row, now = predicted(answer.entry), self.store_time(answer)
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
                    answers.update(
                        {answer.account: evolve(answer, changed=True) for answer in _concerned(event, answers)}
                    )

    # Committed answers

    def commit(self, answer: Answer) -> list[Answer]:
        """Let an answer wait no longer, because the database has stored it.

        The answer is kept for a while if it replaced its credential, its attempt has a timeline, and the hold is not 0.
        A store that loses no commits gives no timeline.

        Returns:
            The answers that this process keeps no longer.
        """
        self.drop(answer)
        timeline = answer.entry.attempt.timeline
        if not self._hold or timeline is None or not answer.rotates:
            return [answer]
        self._forget(answer)
        self._keep(answer, timeline)
        if len(self._committed) <= _MOST:
            return []
        first = next(iter(self._committed.values())).answer
        self._forget(first)
        return [first]

    def reopen(self, account: Account, snapshot: Snapshot) -> bool:
        """Let a committed answer of the account wait again if the store has lost its commit; return whether it has.

        The loss shows in the snapshot: the credential that the answer replaced is stored again.
        """
        if account not in self._committed_of or snapshot.record is None:
            return False
        from vault_domain.memory.answer import Moment

        stored = {TokenRef.of(info) for info in snapshot.record.tokens.values()}
        for attempt_id in self._committed_of[account]:
            answer = self._committed[attempt_id].answer
            if answer.entry.attempt.credential in stored:
                self._forget(answer)
                self.wait(evolve(answer, seen_at=Moment(snapshot.now, self._tasks.monotonic()), changed=False))
                return True
        return False

    def oldest_committed(self) -> Account | None:
        """Return the account of the oldest committed answer, or None."""
        return next((each.answer.account for each in self._committed.values()), None)

    def committed_elsewhere(self, timeline: str) -> list[Account]:
        """Return the accounts whose answers were committed under another timeline."""
        found = (each.answer.account for each in self._committed.values() if each.timeline != timeline)
        return list(dict.fromkeys(found))

    def confirm(self, account: Account, timeline: str) -> None:
        """Remember that the answers of an account are stored under this timeline, and keep them anew."""
        for attempt_id in list(self._committed_of.get(account, ())):
            found = self._committed[attempt_id]
            if found.timeline != timeline:
                self._forget(found.answer)
                self._keep(found.answer, timeline)

    def take_ended(self, timeline: str, now: float) -> list[Answer]:
        """Return the committed answers that were kept long enough, and keep them no longer.

        Args:
            timeline: the store's timeline, read later than ``now``. Only answers of this timeline are returned,
                because no promotion can have lost their commits.
            now: return the answers whose hold ends by this monotonic time in seconds; infinity: all answers of the
                timeline.
        """
        ended = [each.answer for each in self._committed.values() if each.timeline == timeline and each.until <= now]
        for answer in ended:
            self._forget(answer)
        return ended

    def _keep(self, answer: Answer, timeline: str) -> None:
        from vault_domain.memory.answer import Committed

        attempt_id = answer.entry.attempt.attempt_id
        self._committed[attempt_id] = Committed(answer, timeline, self._tasks.monotonic() + self._hold)
        self._committed_of.setdefault(answer.account, []).append(attempt_id)

    def _forget(self, answer: Answer) -> None:
        attempt_id, account = answer.entry.attempt.attempt_id, answer.account
        if self._committed.pop(attempt_id, None) is not None:
            self._committed_of[account].remove(attempt_id)
            if not self._committed_of[account]:
                del self._committed_of[account]


def _concerned(event: AuditEvent, answers: dict[Account, Answer]) -> list[Answer]:
    if event.account is not None:
        return [answers[event.account]] if event.account in answers else []
    return [answer for answer in answers.values() if event.tenant_id in (None, answer.account.tenant_id)]


class _WatchingSink:
    def __init__(self, answer: Answers, sink: EventSink) -> None:
        self._answers, self._sink = answer, sink

    def publish(self, events: Sequence[AuditEvent]) -> None:
        self._answers.note_changes(events)
        self._sink.publish(events)


def replaces(answer: Answer, key: TokenKey, row: StoredToken | DamagedToken | None) -> bool:
    """Return whether a commit of the answer would replace this row of an access token."""
    if key.kind is not TokenKind.ACCESS_TOKEN or isinstance(row, DamagedToken):
        return False
    return (None if row is None else TokenRef.of(row.info)) == answer.entry.attempt.access


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


def in_order(entries: Iterable[JournalEntry]) -> list[JournalEntry]:
    """Return a journal's entries in the order in which they are to be committed.

    If answer A contains the credential that answer B replaced, A comes before B. Of two answers for one credential,
    only the one that is committed first is stored. The answer whose attempt began later is the one to store, so it
    comes first.
    """
    found = sorted(entries, key=lambda entry: entry.attempt.claimed_at)
    begun: dict[TokenRef, datetime] = {}
    for entry in found:
        begun.setdefault(entry.attempt.credential, entry.attempt.claimed_at)
    found.reverse()
    return sorted(found, key=lambda entry: begun[entry.attempt.credential])
