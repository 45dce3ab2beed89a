"""RefreshLedger: leases accounts for refreshing and records how each attempt ended."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from attrs import frozen

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.attempt import Attempt, Commit, Failure
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.token import SealedToken, StoredToken, TokenWrite
from vault_domain.ports.change import Change


@frozen
class Snapshot:
    """An account and its sealed values, read in one statement.

    Attributes:
        record: the account without its values; None if nothing is stored.
        sealed: the sealed values of its tokens, by kind.
        now: the store's time.
        store_since: time since which the store has been reachable, UTC: the start of its server, or the end of the last
            outage that this process saw. None for a store that is always reachable.
        timeline: names the history of the store's commits; another name means that the store may have lost its last
            commits, because a standby was promoted. None if the store loses no commits, or cannot name its timeline.
        turned_at: time at which a vault first saw this timeline, UTC; `now` if that time could not be stored. None if
            `timeline` is None.
        clock_since: time at which this process last noticed a step of the store's clock, UTC; None if it noticed none.
    """

    record: AccountRecord | None
    sealed: dict[TokenKind, SealedToken]
    now: datetime
    store_since: datetime | None = None
    timeline: str | None = None
    turned_at: datetime | None = None
    clock_since: datetime | None = None

    def token(self, kind: TokenKind) -> StoredToken | None:
        """Return the account's token of a kind with its sealed value, or None."""
        info = None if self.record is None else self.record.tokens.get(kind)
        return None if info is None else StoredToken(info, self.sealed[kind])

    def undisturbed_since(self, lease: timedelta) -> datetime | None:
        """Return the time since which nothing has kept holders of leases from storing their answers; None: always.

        This is `store_since`, or a later time if the clock has stepped. If the clock steps forward, a lease that began
        just before the step seems to have ended long ago. It really ends at most ``lease`` after the step.
        """
        stepped = None if self.clock_since is None else self.clock_since + lease
        return max((at for at in (self.store_since, stepped) if at is not None), default=None)


@frozen
class DueAccount:
    """An account that a sweep has to check.

    Attributes:
        account: the account.
        due_at: time at which the account became due, UTC. The last ``due_at`` of a batch is the argument ``since``
            of the next call of `RefreshLedger.reserve_due`.
    """

    account: Account
    due_at: datetime


Judge = Callable[[AccountRecord | None, datetime], datetime | None]
"""Returns the time at which an account is due next, given its record and the store's time; None: never."""


class RefreshLedger(Protocol):
    """Keeps each account's refresh state, and the schedule of the sweeps.

    The state concerns one credential, identified by its value id. Each method is one transaction.

    The schedule is one time per account, ``due_at``. This time is never later than the time at which the rules would
    refresh the account (`vault_domain.rules.refresh.next_due`). So each mutation sets ``due_at``:

    - A stored access token with an expiry: its expiry minus the write's ``lead``, unless ``due_at`` is already earlier.
    - A stored value with a ``due_in``: that time from now, unless ``due_at`` is already earlier. For an imported value,
      ``due_in`` counts from its last refresh, or else from its creation.
    - Several values of one account that are stored together: if one of the two rules above applies to an access token
      among them, only this access token counts. Only writes of access tokens have a ``lead``.
    - A stored value to which neither rule applies: now, but only if the account already has a label, a refresh state or
      a schedule.
    - An access token that is marked invalid: now. An access token that is deleted: now, if the account has a row.
    - A claim: the end of the lease. A renewal: the new end of the lease, if ``due_at`` was the old end.
    - A release or a rejection: now. A failure: the next attempt, or an earlier time that another write has set since
      the claim.
    - A commit: the expiry of the new access token minus its ``lead``, or ``due_in`` from now if that is earlier; now
      if the commit wrote no access token, or an access token without a ``lead``.
    """

    async def read(self, account: Account) -> Snapshot:
        """Read an account with its sealed values.

        Raises:
            DecryptionError: a row of the account is damaged, or belongs to another account.
        """

    async def claim(self, attempt: Attempt, seen: UUID | None) -> datetime | None:
        """Take the lease and return the store's time; return None if another process was faster.

        The claim succeeds only if all of these hold:

        - The credential that ``attempt`` names is stored, and is not invalid.
        - ``seen`` is still the id of the latest attempt.
        - No lease on this credential is running (`RefreshState.leased_until`).

        If the previous lease ran out, its end is stored as the time since which an outcome is unknown.
        `RefreshState.sent_at` stays the time of the first attempt whose outcome is unknown.

        Args:
            attempt: the attempt to record; its `claimed_at` is ignored.
            seen: the id of the latest attempt when the caller decided to claim, or None.
        """

    async def renew(self, attempt: Attempt, lease: timedelta) -> bool:
        """Extend the attempt's own lease to now plus ``lease``, because its exchange with the provider goes on.

        The renewal is as durable as a claim. The attempt may renew a lease that ran out, as long as no other attempt
        began.

        Args:
            attempt: the attempt whose lease is renewed.
            lease: duration of the lease from now on; `LONGEST_LEASE` at most.

        Returns:
            False if the attempt is not the latest one, or has ended; then nothing changes.
        """

    async def reserve_due(
        self, provider: str, *, hold: timedelta, limit: int, since: datetime | None, until: datetime | None
    ) -> tuple[list[DueAccount], datetime]:
        """Reserve up to ``limit`` due accounts of a provider, earliest first.

        Accounts that other sweeps are reserving at this moment are skipped. A reserved account becomes due again after
        ``hold``, in case the sweep never reaches it. A reserved account has no lease: the sweep decides by the rules,
        and then claims the account or reschedules it.

        Args:
            provider: the provider whose accounts are reserved.
            hold: time during which no other sweep reserves these accounts; half an hour at most.
            limit: largest number of accounts to reserve.
            since: reserve only accounts that became due at this time or later: the last ``due_at`` of the previous
                batch. None: no limit.
            until: reserve only accounts that are due at this time or earlier; None: now.

        Returns:
            The accounts and the store's time.
        """

    async def reschedule(self, account: Account, judge: Judge) -> None:
        """Ask ``judge`` when an account is due next, and store its answer.

        The account cannot change between the read for ``judge`` and the write of its answer.
        """

    async def withdraw(self, attempt: Attempt, seen: UUID | None) -> None:
        """End an attempt whose claim may still be on its way to the store, because its answer was lost.

        If the claim has arrived, this does what `release` does. If it has not, it finds a conflict when it arrives.

        Args:
            attempt: the attempt.
            seen: the id of the latest attempt that the claim was given.
        """

    async def release(self, attempt: Attempt) -> None:
        """End the attempt's own lease, because nothing was sent to the provider."""

    async def fail(self, attempt: Attempt, failure: Failure, *, actor: str | None = None) -> Change[None]:
        """Record that the attempt failed; nothing changes if the attempt is no longer the latest one.

        The first failure of a run of failures appends the event ``refresh_failing``; later failures append no event.
        """

    async def reject(self, attempt: Attempt, code: str, *, actor: str | None) -> Change[bool]:
        """End the attempt, mark the credential invalid and set its `TokenInfo.rejected_at`.

        The events are ``token_invalidated`` for the credential, and ``reauthorization_required`` for the account. If
        the credential is already invalid, it does not change, and no event is appended.

        The vault calls this method in three cases:

        - The provider rejected the credential for good.
        - The provider replaced the credential by one that cannot be stored. The vault has already committed the rest of
          the answer.
        - The provider consumed the credential, but the data key of its sealed answer was destroyed before the commit.

        Returns:
            False if the credential was replaced or deleted meanwhile; then no value is marked.
        """

    async def commit(self, attempt: Attempt, writes: Sequence[TokenWrite], *, actor: str | None) -> Change[Commit]:
        """Store the provider's answer by compare-and-set on credential and access token, even after the lease ended.

        A repeated commit of the same attempt changes nothing and returns WRITTEN without a token. A commit clears the
        account's failures, refusals and unknown outcome, and ends the attempt's own lease. If the outcome is
        CREDENTIAL_MOVED, the commit only ends that lease.

        If an earlier attempt with the same credential has stored its answer since the latest attempt claimed, the
        latest attempt's answer replaces it.

        The events are one ``token_refreshed`` for all stored values, and then ``refresh_recovered`` if the commit ends
        a run of failures.

        If the credential was marked invalid since the claim, `TokenWrite.keeps_mark` decides about the status of the
        new credential.

        Raises:
            DataKeyInactiveError: a value is sealed under a data key that is not active.
        """
