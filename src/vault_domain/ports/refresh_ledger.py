"""RefreshLedger: leases on accounts, and what came of them."""

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from attrs import frozen

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.token import SealedToken, StoredToken, TokenInfo, TokenRef, TokenWrite
from vault_domain.ports.change import Change


@frozen
class Snapshot:
    """An account and its sealed values, read in one statement.

    Attributes:
        record: None where nothing is stored.
        sealed: the values of its tokens, by kind.
        now: the store's time.
    """

    record: AccountRecord | None
    sealed: dict[TokenKind, SealedToken]
    now: datetime


@frozen
class Attempt:
    """A claimed account: nobody else presents its credential while the lease lasts.

    Attributes:
        account: which.
        attempt_id: random; names this attempt.
        credential: what is spent, as it was when claimed.
        access: the access token as it was when claimed, or None where there was none.
        claimed_at: the store's time.
        lease: for how long.
    """

    account: Account
    attempt_id: UUID
    credential: TokenRef
    access: TokenRef | None
    claimed_at: datetime
    lease: timedelta


@frozen
class Failure:
    """How an attempt failed.

    Attributes:
        code: a registered OAuth error code, or None.
        retry_in: when the next attempt is due.
        unknown: whether the provider may have spent the credential all the same.
    """

    code: str | None
    retry_in: timedelta
    unknown: bool


@frozen
class DueAccount:
    """An account that a sweep is to look at.

    Attributes:
        account: which.
        due_at: since when it has been due, UTC: the position behind which the next batch begins.
    """

    account: Account
    due_at: datetime


Judge = Callable[[AccountRecord | None, datetime], datetime | None]
"""Returns when an account is due next, from what is stored of it and the store's time; None: never."""


class CommitOutcome(enum.Enum):
    """What became of a provider's answer."""

    WRITTEN = "written"
    """Both tokens, or what came of them, are stored; an earlier commit of the same attempt counts."""
    ACCESS_MOVED = "access_moved"
    """Somebody stored or deleted the access token meanwhile: that stays; a new refresh token is stored."""
    CREDENTIAL_MOVED = "credential_moved"
    """Somebody stored or deleted the credential meanwhile: the answer is dropped."""


@frozen
class Commit:
    """What a commit did.

    Attributes:
        outcome: what became of the provider's answer.
        access: the new access token as this commit stored it, at its `updated_at`; None where it stored none.
    """

    outcome: CommitOutcome
    access: StoredToken | None = None


def stored_access(stored: Iterable[tuple[TokenWrite, TokenInfo]]) -> StoredToken | None:
    """Return the access token among writes that were stored, each with what is known of it now; None without one."""
    for write, info in stored:
        if write.key.kind is TokenKind.ACCESS_TOKEN:
            return StoredToken(info, write.sealed)
    return None


def still_wanted(
    attempt: Attempt, stored: Mapping[TokenKind, TokenRef], writes: Sequence[TokenWrite]
) -> tuple[CommitOutcome, list[TokenWrite]]:
    """Return what of an answer may be written over what is stored now: the compare of every compare-and-set.

    Args:
        attempt: names the values that were stored when the account was claimed.
        stored: those that are stored now, by kind.
        writes: the answer.
    """
    if stored.get(attempt.credential.key.kind) != attempt.credential:
        return CommitOutcome.CREDENTIAL_MOVED, []
    if stored.get(TokenKind.ACCESS_TOKEN) == attempt.access:
        return CommitOutcome.WRITTEN, list(writes)
    return CommitOutcome.ACCESS_MOVED, [write for write in writes if write.key.kind is not TokenKind.ACCESS_TOKEN]


class RefreshLedger(Protocol):
    """Refresh state by account, in a narrow table, and the schedule of sweeps.

    The state speaks of one credential, by id and generation. Each method is one transaction of its own.

    The schedule is one time an account, ``due_at``. It is never later than the time at which the rules would refresh
    the account (`vault_domain.rules.refresh.next_due`). Every mutation keeps it so:

    - A stored access token with an expiry: its expiry minus the write's ``lead``, unless the time is earlier already.
    - Any other stored value: now, for an account that has a time or had one.
    - A claim: the end of the lease. A release or a rejection: now. A failure: the next attempt.
    - A commit: the expiry of the new access token minus its ``lead``; now where no access token was written.
    """

    async def read(self, account: Account) -> Snapshot:
        """Read an account with its sealed values."""

    async def claim(self, attempt: Attempt, seen: UUID | None) -> datetime | None:
        """Take the lease, and return the store's time; None where somebody was faster.

        Succeeds only while the credential is stored in the generation named and not invalid, the latest attempt is
        the one seen, and no lease on this same credential is running. A lease that ran out is kept as an unknown
        outcome since its end. `sent_at` stays that of the first attempt whose outcome is unknown.

        Args:
            attempt: its `claimed_at` is not used.
            seen: the id of the latest attempt on which the decision was based, or None.
        """

    async def reserve_due(
        self, provider: str, *, hold: timedelta, limit: int, since: datetime | None, until: datetime | None
    ) -> tuple[list[DueAccount], datetime]:
        """Take up to ``limit`` due accounts of a provider, soonest first, passing over those that others are taking.

        An account that was taken is due again after ``hold``, for the case that nobody gets to it. It is not leased:
        whoever takes it decides by the rules, and then claims it or schedules it anew.

        Args:
            provider: whose accounts.
            hold: for how long no other sweep takes them; half an hour at most.
            limit: at most so many.
            since: only what has been due since then: the last ``due_at`` of an earlier batch of the same sweep.
            until: only what was due then; None: now.

        Returns:
            The accounts, and the store's time.
        """

    async def reschedule(self, account: Account, judge: Judge) -> None:
        """Let ``judge`` say when an account is due next, and keep that.

        No mutation of the account comes between what ``judge`` sees and what is kept.
        """

    async def release(self, attempt: Attempt) -> None:
        """Give an own lease back: nothing was sent."""

    async def fail(self, attempt: Attempt, failure: Failure) -> None:
        """End an own attempt without tokens; one that is no longer the latest changes nothing."""

    async def reject(self, attempt: Attempt, code: str, *, actor: str | None) -> Change[bool]:
        """The provider says that the credential is dead: make that generation invalid and end the attempt.

        Returns:
            False where the credential has moved: somebody else was faster, and it lives.
        """

    async def commit(self, attempt: Attempt, writes: Sequence[TokenWrite], *, actor: str | None) -> Change[Commit]:
        """Store what the provider answered, by compare-and-set on credential and access token, lease or no lease.

        Repeating a commit of the same attempt changes nothing and is WRITTEN, without a token. It ends failures and
        unknown outcome, and the lease where that is still this attempt's.

        Raises:
            DataKeyInactiveError: a value is sealed under a key that is not active.
        """
