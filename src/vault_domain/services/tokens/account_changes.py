"""Changes accounts besides refreshes: loads an account, applies a transition, stores the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from attrs import evolve

from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.entities.token import MarkOutcome, TokenInfo, TokenRef, TokenWrite
from vault_domain.ports.accounts import Accounts, Decide
from vault_domain.ports.change import Change
from vault_domain.transitions import values

T = TypeVar("T")


class AccountChanges:
    """Stores, marks and deletes the tokens of one account. All times are the store's.

    Args:
        accounts: the accounts.
        new_id: makes the ids of new values.
    """

    def __init__(self, accounts: Accounts, new_id: Callable[[], UUID]) -> None:
        self._accounts = accounts
        self._new_id = new_id

    async def store_expecting(
        self, write: TokenWrite, expected_generation: int | None, *, label: str | None = None, actor: str | None
    ) -> Change[list[TokenInfo]]:
        """Insert or replace a token if its key holds the expected generation (0: nothing; None: any).

        ``label`` replaces the account's label; None keeps it.

        Raises:
            DataKeyInactiveError: the value is sealed under a data key that is not active.
            GenerationConflictError: another generation is stored.
        """
        writes = self._named([write])
        return await self._change(
            write.key.account, lambda state, now: values.stored(state, now, writes, actor, expected_generation, label)
        )

    async def store_set(
        self, account: Account, writes: Sequence[TokenWrite], *, label: str | None, actor: str | None
    ) -> Change[tuple[AccountRecord, datetime]]:
        """Store an account's tokens in one transaction, and end its backoff, unknown outcome and run of refusals.

        Args:
            account: the account that the tokens belong to.
            writes: at most one per kind; stored tokens of the other kinds stay as they are.
            label: replaces the stored label; None keeps it.
            actor: who stores the tokens, for the audit log.

        Returns:
            The account, and the store's time.

        Raises:
            DataKeyInactiveError: a value is sealed under a data key that is not active.
            DecryptionError: a row that stays is damaged, or belongs to another account.
        """
        named = self._named(writes)
        return await self._change(account, lambda state, now: values.stored_set(state, now, named, label, actor))

    async def mark_invalid(self, ref: TokenRef, error_code: str, *, actor: str | None) -> Change[MarkOutcome]:
        """Mark exactly this value invalid.

        Change nothing and return STALE if the value was replaced or deleted, or ALREADY_INVALID if it is invalid. If
        the value is an access token, its account becomes due now, so that a sweep refreshes the account.

        Raises:
            DecryptionError: the token's row is damaged, or belongs to another account.
        """
        return await self._change(ref.key.account, lambda state, now: values.marked(state, now, ref, error_code, actor))

    async def report_rejected(
        self, ref: TokenRef, error_code: str, *, window: ConfirmationWindow, actor: str | None
    ) -> Change[MarkOutcome]:
        """Record that a resource rejected exactly this value, which no refresh can replace.

        `ConfirmationWindow.judge` says what the report means:

        - A first report sets `suspect_since` and writes the event ``token_suspected``; the status stays, and the
          result is SUSPECTED.
        - An early report changes nothing; the result is SUSPECTED too.
        - A confirming report does what `mark_invalid` does.

        Each report takes effect only while exactly this value is stored and not invalid.

        Raises:
            DecryptionError: the token's row is damaged, or belongs to another account.
        """
        return await self._change(
            ref.key.account, lambda state, now: values.reported(state, now, ref, error_code, window, actor)
        )

    async def tell_end(self, account: Account, notice: timedelta, *, actor: str | None) -> Change[bool]:
        """Write the event ``refresh_token_expiring`` if the refresh token expires soon, once for each stored value.

        A token expires soon if it is not invalid, has not expired, and expires within ``notice``, or within half of its
        lifetime if that is less.
        """
        return await self._change(account, lambda state, now: values.end_told(state, now, notice, actor))

    async def revive(self, ref: TokenRef, due_in: timedelta, *, anew: bool = True, actor: str | None) -> Change[bool]:
        """Make exactly this credential valid again if a refresh has condemned it, and it has not expired.

        The event ``account_revived`` has the credential's former error code as `AuditEvent.code`. A lease that runs
        stays. An account without a label, a refresh state and a schedule gets no due time.

        Args:
            ref: the credential.
            due_in: time after which the account becomes due.
            anew: whether the account's failures and its run of refusals are forgotten too.
            actor: who revives it, for the audit log.

        Returns:
            False if the credential cannot be revived, because it has expired, or another writer has changed it.
        """
        return await self._change(
            ref.key.account, lambda state, now: values.revived(state, now, ref, due_in, actor, anew=anew)
        )

    async def delete_token(self, key: TokenKey, *, only: TokenRef | None = None, actor: str | None) -> Change[bool]:
        """Delete one token; deleting an account's last token also deletes the account's label and refresh state.

        Nothing is deleted if ``only`` is given and its value is no longer stored.
        """
        change = await self._change(key.account, lambda state, now: values.deleted(state, now, [key.kind], actor, only))
        return Change(bool(change.result), change.events)

    async def delete_account(
        self, account: Account, *, kinds: Iterable[TokenKind] = TokenKind, actor: str | None
    ) -> Change[int]:
        """Delete an account's tokens of some kinds atomically; return their number; see `delete_token`."""
        doomed = frozenset(kinds)
        return await self._change(account, lambda state, now: values.deleted(state, now, doomed, actor))

    def _named(self, writes: Sequence[TokenWrite]) -> list[TokenWrite]:
        """Name each value, so that a repeated decision is the same decision."""
        return [evolve(write, value_id=write.value_id or self._new_id()) for write in writes]

    async def _change(self, account: Account, decide: Decide[T]) -> Change[T]:
        decision = await self._accounts.change(account, decide)
        return Change(decision.result, decision.events)
