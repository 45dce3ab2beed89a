"""`Answer`: one answer of a provider, as this process keeps it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from attrs import define, frozen

if TYPE_CHECKING:
    from vault_domain.entities.account import Account
    from vault_domain.ports.journal import JournalEntry


@frozen
class Moment:
    """One moment on two clocks: the store's time, and this process's monotonic time in seconds."""

    store_time: datetime
    monotonic: float


@frozen
class Answer:
    """A provider's answer.

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

    @property
    def rotates(self) -> bool:
        """Whether the answer replaces the credential that was presented for it."""
        return any(write.key == self.entry.attempt.credential.key for write in self.entry.writes)

    def is_same(self, other: Answer | None) -> bool:
        """Return whether ``other`` concerns the same answer; its attributes may differ."""
        return other is not None and other.entry.attempt.attempt_id == self.entry.attempt.attempt_id


@define
class Committed:
    """A committed answer.

    Attributes:
        answer: the answer.
        timeline: the store's timeline of its commit.
        until: the monotonic time in seconds until which the answer is kept.
    """

    answer: Answer
    timeline: str
    until: float
