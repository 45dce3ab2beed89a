"""Holds answers that were committed lately, because a store that fails over may lose their commits.

A standby that lags lacks the last commits of its primary. After its promotion, it still stores the credential that an
answer has replaced. The process that got the answer still has the sealed answer, and commits it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from attrs import define

from vault_domain.entities.account import Account
from vault_domain.entities.token import TokenRef
from vault_domain.ports.journal import JournalEntry
from vault_domain.ports.refresh_ledger import Snapshot
from vault_domain.services.tokens.held import Held

_MOST = 20_000
"""Largest number of held answers; beyond it, the oldest is dropped. An answer takes about two kilobytes."""


@define
class _Recent:
    held: Held
    timeline: str
    until: float


class RecentAnswers:
    """The answers of this process that were committed lately, in the order in which their hold ends.

    All times are monotonic, in seconds.

    Args:
        hold: how long an answer is held after its commit; 0 holds none.
    """

    def __init__(self, hold: float) -> None:
        self._hold = hold
        self._recent: dict[UUID, _Recent] = {}
        self._of: dict[Account, list[UUID]] = {}

    def keep(self, held: Held, now: float) -> list[Held] | None:
        """Hold an answer whose commit has succeeded.

        Returns:
            The older answers that are dropped to make room. None if the answer is not held. An answer is held only if
            it replaced its credential, its attempt has a timeline, and the hold is not 0. A store that loses no commits
            gives no timeline.
        """
        timeline = held.entry.attempt.timeline
        if not self._hold or timeline is None or not _is_rotated(held):
            return None
        self.forget(held)
        self._add(_Recent(held, timeline, now + self._hold))
        if len(self._recent) <= _MOST:
            return []
        first = next(iter(self._recent.values())).held
        self.forget(first)
        return [first]

    def oldest(self) -> Account | None:
        """Return the account of the oldest answer, or None."""
        return next((recent.held.account for recent in self._recent.values()), None)

    def undone(self, account: Account, snapshot: Snapshot) -> Held | None:
        """Return an answer whose commit the store has lost, or None.

        The loss shows in the snapshot: the credential that the answer replaced is stored again.
        """
        if account not in self._of or snapshot.record is None:
            return None
        stored = {TokenRef.of(info) for info in snapshot.record.tokens.values()}
        helds = [self._recent[attempt_id].held for attempt_id in self._of[account]]
        return next((held for held in helds if held.entry.attempt.credential in stored), None)

    def forget(self, held: Held) -> None:
        """Hold an answer no longer."""
        attempt_id, account = held.entry.attempt.attempt_id, held.account
        if self._recent.pop(attempt_id, None) is not None:
            self._of[account].remove(attempt_id)
            if not self._of[account]:
                del self._of[account]

    def elsewhere(self, timeline: str) -> list[Account]:
        """Return the accounts whose answers were committed under another timeline."""
        return list(dict.fromkeys(each.held.account for each in self._recent.values() if each.timeline != timeline))

    def confirm(self, account: Account, timeline: str, now: float) -> None:
        """Remember that the answers of an account are stored under this timeline, and hold them anew."""
        for attempt_id in list(self._of.get(account, ())):
            recent = self._recent[attempt_id]
            if recent.timeline != timeline:
                self.forget(recent.held)
                self._add(_Recent(recent.held, timeline, now + self._hold))

    def take_ended(self, timeline: str, now: float) -> list[Held]:
        """Return the answers that have been held long enough, and hold them no longer.

        Args:
            timeline: the store's timeline, read later than ``now``. Only answers of this timeline are returned,
                because no promotion can have lost their commits.
            now: return the answers whose hold ends by this time; infinity: all answers of the timeline.
        """
        ended = [each.held for each in self._recent.values() if each.timeline == timeline and each.until <= now]
        for held in ended:
            self.forget(held)
        return ended

    def _add(self, recent: _Recent) -> None:
        attempt_id = recent.held.entry.attempt.attempt_id
        self._recent[attempt_id] = recent
        self._of.setdefault(recent.held.account, []).append(attempt_id)


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


def _is_rotated(held: Held) -> bool:
    attempt = held.entry.attempt
    return any(write.key == attempt.credential.key for write in held.entry.writes)
