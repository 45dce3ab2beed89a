"""`HostAccounts`: accounts that are written inside a transaction of the host, which commits it or rolls it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from attrs import frozen

from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.account_state import AccountState, Decision
from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.errors import HostTransactionError
from vault_domain.entities.token import DamagedToken, StoredToken, TokenInfo, TokenWrite
from vault_domain.memory.answers import Answers
from vault_domain.ports.accounts import Accounts, Decide
from vault_domain.ports.change import Change
from vault_domain.ports.cipher import Cipher
from vault_domain.ports.event_sink import EventSink
from vault_domain.services.tokens.account_changes import AccountChanges
from vault_domain.services.tokens.reading import RowReader

T = TypeVar("T")

REFRESHING = "refreshing"
"""Reason: the account is being refreshed."""


class HostAccounts:
    """The part of `Accounts` that a host's transaction may use.

    A process that refreshes an account stores the provider's answer before its lease ends. The host's transaction would
    lock the account until the commit, which may come later. So an account with a running lease is refused.

    Args:
        accounts: accounts over the host's connection.
        reader: remembers rows for this process's other callers.
        new_id: makes the ids of new values.
    """

    def __init__(self, accounts: Accounts, reader: RowReader, new_id: Callable[[], UUID]) -> None:
        self._accounts = accounts
        self._reader = reader
        self.changes = AccountChanges(self, new_id)  # type: ignore[arg-type]

    async def get_many(self, keys: Sequence[TokenKey]) -> tuple[Sequence[StoredToken | DamagedToken], datetime]:
        """See `Accounts.get_many`; what the transaction has written itself is found too, and is not remembered."""
        return await self._accounts.get_many(keys)

    async def change(self, account: Account, decide: Decide[T]) -> Decision[T]:
        """See `Accounts.change`; this process remembers no row of the account until the host has committed.

        Raises:
            HostTransactionError: the account is being refreshed.
        """
        self._reader.leave_open([account.key(kind) for kind in TokenKind])
        return await self._accounts.change(account, lambda state, now: decide(_unleased(state, now), now))

    async def store(self, writes: Sequence[TokenWrite], *, actor: str | None) -> Change[list[TokenInfo]]:
        """Store one value; unlike `Accounts.store`, this reads the account first."""
        [write] = writes
        return await self.changes.store_expecting(write, None, actor=actor)


def _unleased(state: AccountState, now: datetime) -> AccountState:
    if state.refresh.leased_until(now) is not None:
        raise HostTransactionError(
            "the account is being refreshed; repeat the transaction a moment later",
            account=state.account,
            reason=REFRESHING,
            retryable=True,
        )
    return state


class UncommittedEvents:
    """An `EventSink` for events that the host may still roll back: nobody is told of them.

    Args:
        held: the waiting answers of providers. They no longer stand in for what the database holds.
    """

    def __init__(self, held: Answers) -> None:
        self._held = held

    def publish(self, events: Sequence[AuditEvent]) -> None:
        """See `EventSink`."""
        self._held.note_changes(events)


@frozen
class HostPorts:
    """The ports of one call inside a transaction of the host.

    Attributes:
        accounts: the accounts, written on the host's connection.
        cipher: seals under data keys that are read and created on the host's connection.
        sink: gets the events before the host's commit.
    """

    accounts: HostAccounts
    cipher: Cipher
    sink: EventSink
