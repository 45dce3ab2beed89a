"""The methods of a vault that a connector needs; a `SyncVault` is called on threads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

import anyio.to_thread

from vault_adapters.sync.vault import SyncVault
from vault_domain.entities.account import Account, AccountInfo, TokenKey
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import Token
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.services.tokens.states import OpenedState

T = TypeVar("T")


class Keeper(Protocol):
    """Seals and opens the OAuth parameter ``state``, and stores tokens."""

    async def seal(self, account: Account, content: Secret, *, bound_to: str, lifetime: timedelta) -> str:
        """See `VaultStates.seal`."""

    async def open(self, state: str, *, bound_to: str) -> OpenedState:
        """See `VaultStates.open`."""

    async def store(
        self, account: Account, token_set: TokenSet, label: str | None, state: OpenedState | None
    ) -> AccountInfo:
        """See `TokenVault.store_token_set`."""

    async def token(self, key: TokenKey) -> Token | None:
        """See `TokenVault.get_token`."""

    async def keep(self, key: TokenKey, value: Secret, *, over: int | None = None) -> None:
        """Store a value; see `TokenVault.store_token`, whose ``expected_generation`` is ``over``."""

    async def forget(self, key: TokenKey) -> None:
        """See `TokenVault.delete_token`."""

    async def account(self, account: Account) -> AccountInfo | None:
        """See `TokenVault.get_account`."""


def keeper_of(vault: object) -> Keeper:
    """Return the keeper over a vault.

    Raises:
        InvalidInputError: the object is no vault.
    """
    if isinstance(vault, TokenVault):
        return _Direct(vault)
    if isinstance(vault, SyncVault):
        return _OnThreads(vault)
    raise InvalidInputError("vault must be a TokenVault or a SyncVault")


class _Direct:
    def __init__(self, vault: TokenVault) -> None:
        self._vault = vault
        self.seal = vault.states.seal
        self.open = vault.states.open
        self.token = vault.get_token
        self.account = vault.get_account

    async def keep(self, key: TokenKey, value: Secret, *, over: int | None = None) -> None:
        await self._vault.store_token(key, value, expected_generation=over)

    async def forget(self, key: TokenKey) -> None:
        await self._vault.delete_token(key)

    async def store(
        self, account: Account, token_set: TokenSet, label: str | None, state: OpenedState | None
    ) -> AccountInfo:
        return await self._vault.store_token_set(account, token_set, label=label, state=state)


class _OnThreads:
    """Calls a `SyncVault` on threads, because it refuses calls from a running event loop."""

    def __init__(self, vault: SyncVault) -> None:
        self._vault = vault

    async def seal(self, account: Account, content: Secret, *, bound_to: str, lifetime: timedelta) -> str:
        return await _on_thread(self._vault.states.seal, account, content, bound_to=bound_to, lifetime=lifetime)

    async def open(self, state: str, *, bound_to: str) -> OpenedState:
        return await _on_thread(self._vault.states.open, state, bound_to=bound_to)

    async def store(
        self, account: Account, token_set: TokenSet, label: str | None, state: OpenedState | None
    ) -> AccountInfo:
        return await _on_thread(self._vault.store_token_set, account, token_set, label=label, state=state)

    async def token(self, key: TokenKey) -> Token | None:
        return await _on_thread(self._vault.get_token, key)

    async def keep(self, key: TokenKey, value: Secret, *, over: int | None = None) -> None:
        await _on_thread(self._vault.store_token, key, value, expected_generation=over)

    async def forget(self, key: TokenKey) -> None:
        await _on_thread(self._vault.delete_token, key)

    async def account(self, account: Account) -> AccountInfo | None:
        return await _on_thread(self._vault.get_account, account)


async def _on_thread(call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    return await anyio.to_thread.run_sync(partial(call, *args, **kwargs))
