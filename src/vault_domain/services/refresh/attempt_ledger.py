"""Leases accounts for refreshing and records how each attempt ended: loads an account, applies a transition, stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Attempt, Commit, Failure, SealedAnswer
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.token import SealedToken, TokenWrite
from vault_domain.ports.accounts import Accounts, Decide
from vault_domain.ports.change import Change
from vault_domain.transitions import attempts
from vault_domain.transitions.values import rescheduled

T = TypeVar("T")

Judge = Callable[[AccountRecord | None, datetime], datetime | None]
"""Returns the time at which an account is due next, given its record and the store's time; None: never."""


class AttemptLedger:
    """Keeps the refresh state of accounts. It concerns one credential, identified by its value id.

    Each method is one transaction. It raises `DecryptionError` if a row of the account is damaged.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self.read = accounts.read
        self.reserve_due = accounts.reserve_due

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
        change = await self._change(attempt.account, lambda state, now: attempts.claimed(state, now, attempt, seen))
        return change.result

    async def withdraw(self, attempt: Attempt, seen: UUID | None) -> None:
        """End an attempt whose claim may still be on its way to the store, because its answer was lost.

        If the claim has arrived, this does what `release` does. If it has not, it finds a conflict when it arrives.

        Args:
            attempt: the attempt.
            seen: the id of the latest attempt that the claim was given.
        """
        await self._change(attempt.account, lambda state, now: attempts.withdrawn(state, now, attempt, seen))

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
        change = await self._change(attempt.account, lambda state, now: attempts.renewed(state, now, attempt, lease))
        return change.result

    async def reschedule(self, account: Account, judge: Judge) -> None:
        """Ask ``judge`` when an account is due next, and store its answer.

        The account cannot change between the read for ``judge`` and the write of its answer.
        """
        await self._change(account, lambda state, now: rescheduled(state, judge(state.record, now)))

    async def wake(self, account: Account) -> None:
        """End the backoff of an account if its latest failure was a rejection that condemned nothing."""
        await self._change(account, attempts.woken)

    async def release(self, attempt: Attempt) -> None:
        """End the attempt's own lease, because nothing was sent to the provider."""
        await self._change(attempt.account, lambda state, now: attempts.released(state, now, attempt))

    async def fail(self, attempt: Attempt, failure: Failure, *, actor: str | None = None) -> Change[None]:
        """Record that the attempt failed; nothing changes if the attempt is no longer the latest one.

        The first failure of a run of failures appends the event ``refresh_failing``; later failures append no event.
        """
        return await self._change(
            attempt.account, lambda state, now: attempts.failed(state, now, attempt, failure, actor)
        )

    async def keep(self, attempt: Attempt, answer: SealedAnswer, *, actor: str | None) -> Change[None]:
        """Do what `fail` does, and keep the answer that could not be read while its credential is still stored.

        The event ``answer_kept`` comes first. An answer of the same attempt is replaced without this event.

        Raises:
            DataKeyInactiveError: the answer is sealed under a data key that is not active.
        """
        return await self._change(
            attempt.account, lambda state, now: attempts.unread(state, now, attempt, answer, actor)
        )

    async def reread(self, account: Account, attempt_id: UUID, sealed: SealedToken | None) -> None:
        """Put an attempt's kept answer under another seal, which `keep` would take too; None: drop it."""
        await self._change(account, lambda state, now: attempts.reread(state, attempt_id, sealed))

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
        return await self._change(
            attempt.account, lambda state, now: attempts.rejected(state, now, attempt, code, actor)
        )

    async def commit(self, attempt: Attempt, writes: Sequence[TokenWrite], *, actor: str | None) -> Change[Commit]:
        """Store the provider's answer by compare-and-set on credential and access token, even after the lease ended.

        A repeated commit of the same attempt changes nothing and returns WRITTEN without a token. A commit clears the
        account's failures, refusals and unknown outcome, and ends the attempt's own lease. The attempt's answer is kept
        no longer. If the outcome is
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
        return await self._change(
            attempt.account, lambda state, now: attempts.answered(state, now, attempt, writes, actor)
        )

    async def _change(self, account: Account, decide: Decide[T]) -> Change[T]:
        # An account with a damaged row is not refreshed.
        decision = await self._accounts.change(account, lambda state, now: decide(state.require_intact(), now))
        return Change(decision.result, decision.events)
