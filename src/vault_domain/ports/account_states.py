"""AccountStates: changes an account by a decision about the whole of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from vault_domain.entities.account import Account
from vault_domain.entities.account_state import AccountState, Decision
from vault_domain.ports.refresh_ledger import DueAccount, Snapshot

T = TypeVar("T")

Decide = Callable[[AccountState, datetime], Decision[T]]
"""Decides what becomes of an account, given its state and the store's time. It has no side effects."""


class AccountStates(Protocol):
    """The states of accounts. A store decides nothing about them: it loads, compares and writes."""

    async def change(self, account: Account, decide: Decide[T]) -> Decision[T]:
        """Load an account whole, decide, and write the new state with the events, all or nothing; return the decision.

        - The account does not change between the load and the write, except for the times of last uses. A store either
          loads and writes in one transaction that keeps other writers away, or compares all that it has loaded with
          what is stored, absent rows included, and decides again if anything differs.
        - The time is the store's when it writes, or at most a second earlier, because a lease begins at this time.
        - Tokens that are another object than before are written, and the row if it differs. Rows that are no longer in
          the state are deleted, damaged ones included. With an account's last token, its row is deleted. If the
          decision returns the state that it was given, nothing is written.
        - The data keys of new values must be active.
        - With `Decision.durable`, the commit survives a crash of the server whatever its settings are.
        - Other processes are notified of each new value, and of each value that became invalid or was deleted.

        Raises:
            DataKeyInactiveError: a new value is sealed under a data key that is not active; nothing was written.
            DecryptionError: a row belongs to another account, or its kind cannot be read. Any other damaged row is in
                `AccountState.damaged`.
            StorageError: other writers have changed the account again and again (retryable, ``locked``).
        """

    async def read(self, account: Account) -> Snapshot:
        """See `RefreshLedger.read`."""

    async def reserve_due(
        self, provider: str, *, hold: timedelta, limit: int, since: datetime | None, until: datetime | None
    ) -> tuple[list[DueAccount], datetime]:
        """See `RefreshLedger.reserve_due`."""
