"""`HostTransaction`: the calls of a vault that take part in a transaction of the host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from vault_domain.entities.account import Account, AccountDeletion, AccountInfo, TokenKey
from vault_domain.entities.errors import HostTransactionError
from vault_domain.entities.scrub import scrubbed_async
from vault_domain.entities.secret import Secret, as_value
from vault_domain.entities.text import Scopes
from vault_domain.entities.token import TokenInfo
from vault_domain.entities.token_set import TokenSet
from vault_domain.services.tokens.states import OpenedState
from vault_domain.services.use_cases import VaultServices

if TYPE_CHECKING:
    from vault_domain.facade.vault import TokenVault

NOT_PART = "not_part"
"""Reason: the call is none of those that can be part of a host's transaction."""

WRONG_CONNECTION = "connection"
"""Reason: the object is no connection that the vault can use."""


class HostTransaction:
    """Stores and deletes inside the host's own transaction, on the host's connection; `TokenVault.on` gives it.

    The account exists if and only if the host's rows do: the host commits both, or neither. The vault never commits. A
    call that fails is undone alone, and the host's transaction can go on.

    - Reads of this process, and of others, find the change after the commit. The event feed gives its events then; the
      function ``on_event`` does not get them, because the vault does not learn of the commit.
    - Refreshes, reads and all other calls are not part of a host's transaction, and neither is the journal. An account
      that is being refreshed is refused, because the provider's answer could not be stored before the host's commit.
    - One call at a time uses a connection.

    Every method may raise `HostTransactionError` (its `reason` says why this connection or account is refused), and the
    errors of the method of `TokenVault` that has the same name.
    """

    __slots__ = ("_connection", "_services", "_vault")

    def __init__(
        self, services: VaultServices, connection: object, vault: Callable[[VaultServices], TokenVault]
    ) -> None:
        self._services = services
        self._connection = connection
        self._vault = vault

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[TokenVault]:
        async with self._services.on(self._connection) as ports:
            yield self._vault(self._services.over(ports))

    @scrubbed_async
    async def store_token(
        self,
        key: TokenKey,
        value: Secret | str,
        *,
        expires_at: datetime | None = None,
        scopes: Scopes | None = None,
        expected_generation: int | None = None,
        label: str | None = None,
    ) -> TokenInfo:
        """See `TokenVault.store_token`."""
        secret = as_value(value)
        del value  # tracebacks of later errors must not hold the value
        async with self._call() as vault:
            return await vault.store_token(
                *(key, secret),
                expires_at=expires_at,
                scopes=scopes,
                expected_generation=expected_generation,
                label=label,
            )

    @scrubbed_async
    async def store_token_set(
        self, account: Account, token_set: TokenSet, *, label: str | None = None, state: OpenedState | None = None
    ) -> AccountInfo:
        """See `TokenVault.store_token_set`."""
        async with self._call() as vault:
            return await vault.store_token_set(account, token_set, label=label, state=state)

    @scrubbed_async
    async def delete_account(self, account: Account) -> AccountDeletion:
        """Delete all tokens of an account and its refresh state; the provider is not asked to revoke them."""
        async with self._call() as vault:
            return await vault.delete_account(account)

    if not TYPE_CHECKING:  # a type checker is to refuse the other calls itself

        def __getattr__(self, name: str) -> Any:
            refuse_other_calls(self, name)


def as_connection(connection: object) -> object:
    """Return a connection, or what says in which thread a connection is used.

    Raises:
        HostTransactionError: it is neither. The object may be a URL with a password, so no frame may keep it.
    """
    if not any(hasattr(connection, name) for name in ("commit", "driver")):
        raise HostTransactionError("this is no connection to a database", reason=WRONG_CONNECTION)
    return connection


def refuse_other_calls(view: object, name: str) -> NoReturn:
    """Raise the error for a name that a view of a host's transaction does not have.

    Raises:
        HostTransactionError: always, unless the name begins with an underscore.
        AttributeError: it begins with one, because Python itself looks for such names.
    """
    if name.startswith("_"):
        raise AttributeError(f"{type(view).__name__!r} object has no attribute {name!r}")
    raise HostTransactionError(
        "only store_token, store_token_set and delete_account can be part of the host's transaction", reason=NOT_PART
    )
