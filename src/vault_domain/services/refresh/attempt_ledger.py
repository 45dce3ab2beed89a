"""Implements `RefreshLedger` over the states of accounts: loads an account, applies a transition, stores the result."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Attempt, Commit, Failure
from vault_domain.entities.token import TokenWrite
from vault_domain.ports.account_states import AccountStates, Decide
from vault_domain.ports.change import Change
from vault_domain.ports.refresh_ledger import Judge
from vault_domain.transitions import attempts
from vault_domain.transitions.values import rescheduled

T = TypeVar("T")


class AttemptLedger:
    """Implements `RefreshLedger`."""

    def __init__(self, states: AccountStates) -> None:
        self._states = states
        self.read = states.read
        self.reserve_due = states.reserve_due

    async def claim(self, attempt: Attempt, seen: UUID | None) -> datetime | None:
        """Take the lease and return the store's time; return None if another process was faster."""
        change = await self._change(attempt.account, lambda state, now: attempts.claimed(state, now, attempt, seen))
        return change.result

    async def withdraw(self, attempt: Attempt, seen: UUID | None) -> None:
        """End an attempt whose claim may still be on its way to the store."""
        await self._change(attempt.account, lambda state, now: attempts.withdrawn(state, now, attempt, seen))

    async def renew(self, attempt: Attempt, lease: timedelta) -> bool:
        """Extend the attempt's own lease to now plus ``lease``."""
        change = await self._change(attempt.account, lambda state, now: attempts.renewed(state, now, attempt, lease))
        return change.result

    async def reschedule(self, account: Account, judge: Judge) -> None:
        """Ask ``judge`` when an account is due next, and store its answer."""
        await self._change(account, lambda state, now: rescheduled(state, judge(state.record, now)))

    async def release(self, attempt: Attempt) -> None:
        """End the attempt's own lease."""
        await self._change(attempt.account, lambda state, now: attempts.released(state, now, attempt))

    async def fail(self, attempt: Attempt, failure: Failure, *, actor: str | None = None) -> Change[None]:
        """Record that the attempt failed."""
        return await self._change(
            attempt.account, lambda state, now: attempts.failed(state, now, attempt, failure, actor)
        )

    async def reject(self, attempt: Attempt, code: str, *, actor: str | None) -> Change[bool]:
        """End the attempt and mark its credential invalid."""
        return await self._change(
            attempt.account, lambda state, now: attempts.rejected(state, now, attempt, code, actor)
        )

    async def commit(self, attempt: Attempt, writes: Sequence[TokenWrite], *, actor: str | None) -> Change[Commit]:
        """Store the provider's answer by compare-and-set on credential and access token."""
        return await self._change(
            attempt.account, lambda state, now: attempts.answered(state, now, attempt, writes, actor)
        )

    async def _change(self, account: Account, decide: Decide[T]) -> Change[T]:
        # An account with a damaged row is not refreshed.
        decision = await self._states.change(account, lambda state, now: decide(state.require_intact(), now))
        return Change(decision.result, decision.events)
