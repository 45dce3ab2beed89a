"""RefreshLedger: leases on accounts, and what came of them."""

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from attrs import frozen

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.token import SealedToken, StoredToken, TokenInfo, TokenRef, TokenWrite
from vault_domain.ports.change import Change
from vault_domain.rules.refresh import RefreshRule


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


DuePlace = tuple[datetime, str, UUID]
"""Where an account stands in the order of what is due: its access token's expiry, its tenant and that token's id."""


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


def stored_access(writes: Sequence[TokenWrite], infos: Sequence[TokenInfo]) -> StoredToken | None:
    """Return the access token among writes that were stored, each with what is known of it now; None without one."""
    pairs = zip(writes, infos, strict=True)
    access = (StoredToken(info, write.sealed) for write, info in pairs if write.key.kind is TokenKind.ACCESS_TOKEN)
    return next(access, None)


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
    """Refresh state by account, in a narrow table.

    It speaks of one credential, by id and generation. Each method is one transaction of its own.
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

    async def claim_due(
        self, rules: Mapping[str, RefreshRule], *, horizon: timedelta, limit: int, after: DuePlace | None
    ) -> list[tuple[Attempt, DuePlace]]:
        """Claim up to ``limit`` accounts that are due, soonest first, skipping those that others hold.

        Due is a valid access token that expires within ``horizon`` (capped at half of its lifetime), with a usable
        credential, no running lease, no backoff, and no unknown outcome that the provider's rotation forbids to
        settle now.

        Args:
            rules: by provider; accounts of other providers are left alone.
            horizon: how long before its end a token is refreshed.
            limit: at most so many.
            after: only what is due behind this place: the last of an earlier batch of the same sweep.

        Returns:
            The attempts, in order, each with its place.
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
