"""Stores, invalidates and deletes single tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import DecryptionError
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.entities.token import MarkOutcome, TokenDraft, TokenInfo, TokenRef, TokenWrite
from vault_domain.ports.accounts import Accounts
from vault_domain.ports.change import Change
from vault_domain.ports.cipher import Cipher
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.pages import AccountQuery, Ending, Pages
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.services.tokens.account_changes import AccountChanges
from vault_domain.services.tokens.clients import Clients
from vault_domain.services.tokens.sealing import write_many_sealed, write_sealed

if TYPE_CHECKING:
    from vault_domain.entities.refresh_state import AccountRecord
    from vault_domain.ports.tasks import Tasks
    from vault_domain.services.tokens.hosting import HostPorts

_FEW = 1000
"""Number of values up to which all are sealed before the store gets them, because they go in one statement."""

_ENDING_AT_ONCE = 100
"""Largest number of tokens on a page of refresh tokens that expire soon."""

_PAGE = 500
"""Largest number of accounts on a page of accounts that are deleted."""

_AT_ONCE = 4
"""Largest number of accounts that one call deletes at the same time; other callers need connections too."""


class TokenWriter:
    """The vault's writes of single tokens. The facade has validated the arguments."""

    def __init__(
        self,
        accounts: Accounts,
        pages: Pages,
        changes: AccountChanges,
        cipher: Cipher,
        sink: EventSink,
        policy: RefreshPolicy,
        clients: Clients,
        tasks: Tasks,
    ) -> None:
        self._accounts = accounts
        self._pages = pages
        self._changes = changes
        self._cipher = cipher
        self._sink = sink
        self._policy = policy
        self._clients = clients
        self._tasks = tasks

    def over(self, ports: HostPorts) -> TokenWriter:
        """Return this service for one call inside a transaction of the host, which may store one value."""
        accounts = ports.accounts
        return TokenWriter(
            *(cast("Accounts", accounts), self._pages, accounts.changes, ports.cipher, ports.sink),
            *(self._policy, self._clients, self._tasks),
        )

    async def store(
        self,
        drafts: Sequence[TokenDraft],
        *,
        actor: str | None,
        expected_generation: int | None = None,
        label: str | None = None,
    ) -> list[TokenInfo]:
        """Seal and store drafts, all or none; an expected generation or a label is for a single draft."""
        if not drafts:
            return []
        common = (self._cipher, self._sink, self._policy, self._clients.sign(drafts))
        if len(drafts) > _FEW:
            return await write_many_sealed(
                *common, lambda writes: self._accounts.store(writes, actor=actor), self._accounts.get_many
            )

        async def write(writes: Sequence[TokenWrite]) -> Change[list[TokenInfo]]:
            if expected_generation is None and label is None:
                return await self._accounts.store(writes, actor=actor)
            [only] = writes
            return await self._changes.store_expecting(only, expected_generation, label=label, actor=actor)

        return await write_sealed(*common, write, self._accounts.get_many)

    async def mark_invalid(self, info: TokenInfo, error_code: str, *, actor: str | None) -> MarkOutcome:
        """Mark invalid exactly the value that ``info`` describes."""
        change = await self._changes.mark_invalid(TokenRef.of(info), error_code, actor=actor)
        self._sink.publish(change.events)
        return change.result

    async def report_rejected(
        self, info: TokenInfo, error_code: str, *, window: ConfirmationWindow, actor: str | None
    ) -> MarkOutcome:
        """Record that a resource rejected exactly the value that ``info`` describes; see `AccountChanges`."""
        change = await self._changes.report_rejected(TokenRef.of(info), error_code, window=window, actor=actor)
        self._sink.publish(change.events)
        return change.result

    async def note_ending(self, should_stop: Callable[[], bool], *, actor: str | None) -> None:
        """Write and publish the event of each refresh token that expires soon, page by page.

        If ``should_stop`` returns True, no further page begins.
        """
        notice, after = self._policy.notice, None
        while not should_stop():
            ending = await self._pages.tokens(Ending(notice), limit=_ENDING_AT_ONCE, after=after)
            for info in ending:
                with suppress(DecryptionError):  # another row of the account cannot be used; the store has logged it
                    change = await self._changes.tell_end(info.key.account, notice, actor=actor)
                    self._sink.publish(change.events)
            if len(ending) < _ENDING_AT_ONCE:
                return
            after = Ending.place(ending[-1])

    async def delete(self, token: TokenKey | TokenInfo, *, actor: str | None) -> bool:
        """Delete the token of a key, or exactly the value that an info describes; return whether it existed."""
        only = None if isinstance(token, TokenKey) else TokenRef.of(token)
        key = token if isinstance(token, TokenKey) else token.key
        change = await self._changes.delete_token(key, only=only, actor=actor)
        self._sink.publish(change.events)
        return change.result

    async def delete_provider(self, tenant_id: str, provider: str, *, actor: str | None) -> int:
        """Delete a tenant's tokens at a provider, each account in one transaction; return the number of tokens.

        Raises:
            DecryptionError: an account has a row that cannot be told from another's. All other accounts are deleted.
        """
        query, after, deleted = AccountQuery(tenant_id, provider, with_damaged=True), None, 0
        waiting: deque[AccountRecord] = deque()
        refused: list[DecryptionError] = []

        async def delete() -> None:
            nonlocal deleted
            while waiting:
                try:
                    change = await self._changes.delete_account(waiting.popleft().account, actor=actor)
                except DecryptionError as error:
                    refused.append(error)
                else:
                    self._sink.publish(change.events)
                    deleted += change.result

        is_end = False
        while not is_end:
            page, _ = await self._pages.accounts(query, limit=_PAGE, after=after)
            is_end = len(page) < _PAGE
            after = query.place(page[-1]) if page else None
            waiting.extend(page)
            try:
                await self._tasks.run_all([("delete", delete)] * min(_AT_ONCE, len(page)), _AT_ONCE)
            finally:
                waiting.clear()  # after a cancellation, only the accounts that have begun are deleted
        if refused:
            raise refused[0]
        return deleted
