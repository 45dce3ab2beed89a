"""Stores token sets, and describes and deletes whole accounts."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import cast

from attrs import evolve

from vault_domain.entities.account import Account, AccountDeletion, AccountInfo, TokenKind
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.errors import StateRefusedError
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.accounts import Accounts
from vault_domain.ports.audit_log import AuditLog, Noticed
from vault_domain.ports.cipher import Cipher, UnreadableError
from vault_domain.ports.event_sink import EventSink
from vault_domain.rules.connection import describe_account
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.services.tokens.account_changes import AccountChanges
from vault_domain.services.tokens.clients import Clients
from vault_domain.services.tokens.hosting import HostPorts
from vault_domain.services.tokens.opening import checked_snapshot
from vault_domain.services.tokens.revocation import RevocationService
from vault_domain.services.tokens.sealing import drafts_of, write_sealed
from vault_domain.services.tokens.states import UNREADABLE_STATE, OpenedState

_log = logging.getLogger(__name__)


NOT_CONFIRMED = "not_confirmed"
"""The code of the event ``account_revoked`` if the provider was asked, and did not confirm."""

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # a placeholder: `AuditLog.append` sets an event's time


class AccountService:
    """The vault's account operations. The facade has validated the arguments."""

    def __init__(
        self,
        accounts: Accounts,
        changes: AccountChanges,
        audit: AuditLog,
        cipher: Cipher,
        sink: EventSink,
        revoker: RevocationService,
        policy: RefreshPolicy,
        spends: Mapping[str, TokenKind],
        clients: Clients,
        exchanged: Callable[[Account], Awaitable[None]] | None,
    ) -> None:
        self._accounts = accounts
        self._changes = changes
        self._audit = audit
        self._cipher = cipher
        self._sink = sink
        self._revoker = revoker
        self._policy = policy
        self._spends = spends
        self._clients = clients
        self._exchanged = exchanged

    def over(self, ports: HostPorts) -> AccountService:
        """Return this service for one call inside a transaction of the host, which may store a set or delete."""
        accounts = ports.accounts
        return AccountService(
            cast("Accounts", accounts),
            accounts.changes,
            self._audit,
            ports.cipher,
            ports.sink,
            self._revoker,
            self._policy,
            self._spends,
            self._clients,
            None,  # it would write beside the host's transaction, and on SQLite wait for it
        )

    async def store_set(
        self,
        account: Account,
        token_set: TokenSet,
        *,
        label: str | None,
        actor: str | None,
        state: OpenedState | None = None,
    ) -> AccountInfo:
        """Store a token set in one transaction; return the resulting account.

        A ``state`` shows that the provider's token endpoint has exchanged a code of the vault's client.

        Raises:
            StateRefusedError: the tenant was erased since ``state`` was sealed.
        """
        problem = token_set.refresh_token_problem
        if problem is not None:
            _log.error("%s sent a refresh token that cannot be stored: %s", account.provider, problem)
        try:
            record, now = await write_sealed(
                self._cipher,
                self._sink,
                self._policy,
                self._clients.sign(drafts_of(account, token_set)),
                lambda writes: self._changes.store_set(account, writes, label=label, actor=actor),
                self._accounts.get_many,
                begun_under=None if state is None else (state.tenant_id, state.data_key_id),
            )
        except UnreadableError:
            raise StateRefusedError(account=account, reason=UNREADABLE_STATE) from None
        if state is not None and self._exchanged is not None:
            await self._exchanged(account)
        info = describe_account(record, now, self._spends.get(account.provider))
        return evolve(info, reason=info.reason or problem)

    async def get(self, account: Account) -> AccountInfo | None:
        """Return an account as a host shows it, or None if nothing is stored for it."""
        snapshot = checked_snapshot(account, await self._accounts.read(account, with_values=False))
        if snapshot.record is None:
            return None
        problems = await self._cipher.key_problems([account.tenant_id])
        spends, problem = self._spends.get(account.provider), problems.get(account.tenant_id)
        return describe_account(snapshot.record, snapshot.now, spends, problem)

    async def delete(self, account: Account, *, revoke: bool, actor: str | None) -> AccountDeletion:
        """Delete the account's tokens and refresh state, even if the provider does not confirm the revocation."""
        reason = await self._revoker.hindrance(account) if revoke else None
        revoked = await self._revoker.revoke(account) if revoke and reason is None else None
        if revoked is not None or reason is not None:
            await self._record_revocation(account, None if revoked else reason or NOT_CONFIRMED, actor)
        change = await self._changes.delete_account(account, actor=actor)
        self._sink.publish(change.events)
        return AccountDeletion(change.result, revoked, reason)

    async def _record_revocation(self, account: Account, code: str | None, actor: str | None) -> None:
        """Append the event before the deletion, because the provider's answer is not in the deletion's transaction."""
        asked = AuditEvent(
            AuditAction.ACCOUNT_REVOKED, _LONG_AGO, tenant_id=account.tenant_id, account=account, actor=actor, code=code
        )
        self._sink.publish((await self._audit.append([Noticed(asked)], apart=None)).events)
