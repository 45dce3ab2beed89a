"""Fixtures and helpers of the contract suite, the test cases that every store must pass."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import pytest

from vault_adapters.composition import Store, open_vault_over
from vault_adapters.configuration.config import VaultConfig
from vault_adapters.testing.clock import ManualClock
from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.imported import ImportedWrite
from vault_domain.entities.page import Page
from vault_domain.entities.token import StoredToken, TokenInfo
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.clock import Clock
from vault_domain.ports.late_writes import LateWrites
from vault_domain.ports.token_refresher import TokenRefresher
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.tokens.account_changes import AccountChanges

T = TypeVar("T")

SECRET = "the encryption secret of the contract suite"
CONFIG = VaultConfig("sqlite:///:memory:", encryption_secret=SECRET, scrypt_log2_n=14)

ACCOUNT = Account("t1", "google", "ann")
ACCESS = ACCOUNT.key(TokenKind.ACCESS_TOKEN)
REFRESH = ACCOUNT.key(TokenKind.REFRESH_TOKEN)

UNWRITABLE = "\ud800"
"""An actor with which no store can write an event, because a lone surrogate has no UTF-8 encoding."""


class OpenStore(Protocol):
    """Opens the test's database, which is the same at every call; the store takes all times from the given clock."""

    def __call__(self, clock: Clock, /) -> AbstractAsyncContextManager[Store]:
        """Return a context manager that opens and closes the store."""


class ContractFixtures:
    """Opens a store and a vault over it for each test."""

    pytestmark = pytest.mark.anyio

    def __init_subclass__(cls, *, given: tuple[str, ...] = (), **kwargs: Any) -> None:
        """Prepare a class of cases. The test class of a store inherits several such classes.

        Args:
            given: fixtures that every case of this class needs. They are not autouse, because pytest would then run
                them for the cases of the other classes too.
            **kwargs: arguments for other base classes.
        """
        super().__init_subclass__(**kwargs)
        for name, case in vars(cls).items():
            if name.startswith("test_"):
                setattr(case, cls.__name__, True)  # so that `pytest -k` selects the case by the class's name
                if given:
                    pytest.mark.usefixtures(*given)(case)

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Run on asyncio, as the vault does."""
        return "asyncio"

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Give the function that opens the store under test."""
        raise NotImplementedError("override the fixture open_store")

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Give the clock of the store."""
        return ManualClock()

    @pytest.fixture
    def happened(self) -> list[AuditEvent]:
        """Give the list to which `vault` reports its events."""
        return []

    @pytest.fixture
    async def store(self, open_store: OpenStore, clock: ManualClock) -> AsyncIterator[Store]:
        """Open the store; at the end of the test no call may be running in it."""
        async with open_store(clock) as store:
            yield store
            await self.check_idle(store)

    @pytest.fixture
    async def vault(self, store: Store, happened: list[AuditEvent]) -> AsyncIterator[TokenVault]:
        """Open a vault over the store."""
        async with self.vault_over(store, on_event=happened.append) as vault:
            yield vault

    @pytest.fixture
    async def stored_account(self, vault: TokenVault) -> None:
        """Store `ACCOUNT` with a label; its access token lasts for an hour."""
        await vault.store_token_set(ACCOUNT, TokenSet("access-0", "refresh-0", expires_in=3600), label="Ann")

    def vault_over(
        self,
        store: Store,
        config: VaultConfig = CONFIG,
        *,
        refreshers: Mapping[str, TokenRefresher] | None = None,
        on_event: Callable[[AuditEvent], object] | None = None,
    ) -> AbstractAsyncContextManager[TokenVault]:
        """Open a vault over a store. Override this to run the cases through another facade of the vault."""
        return open_vault_over(store, config, refreshers=refreshers, on_event=on_event)

    async def check_idle(self, store: Store) -> None:
        """Do nothing. Override this to fail if the store still has a connection in use or a transaction open."""


async def tokens_of(vault: TokenVault, tenant_id: str = "t1") -> dict[TokenKey, TokenInfo]:
    """Return the metadata of all of a tenant's tokens, by key; fail if a token is listed twice."""
    infos = [info async for info in vault.iter_tokens(tenant_id)]
    found = {info.key: info for info in infos}
    assert len(found) == len(infos)
    return found


async def events_of(vault: TokenVault, tenant_id: str | None = None) -> list[AuditEvent]:
    """Return all stored events of a tenant; None: of all tenants."""
    return [event async for event in vault.iter_audit_events(tenant_id=tenant_id)]


def key(identifier: object = None, kind: TokenKind = TokenKind.ACCESS_TOKEN, provider: str = "google") -> TokenKey:
    """Return the key of a token of the tenant ``t1``."""
    return TokenKey("t1", provider, kind, None if identifier is None else str(identifier))


async def row_of(store: Store, token_key: TokenKey = ACCESS) -> StoredToken:
    """Return the row stored under a key."""
    row = (await store.accounts.get(token_key)).row
    assert row is not None
    return row


async def rows_of(store: Store, keys: Sequence[TokenKey]) -> list[StoredToken]:
    """Return the rows stored under these keys; none of them may be damaged."""
    rows, _ = await store.accounts.get_many(keys)
    found = [row for row in rows if isinstance(row, StoredToken)]
    assert len(found) == len(rows)
    return found


async def import_sealed(
    store: Store, writes: Sequence[ImportedWrite], *, overwrite: bool = True, actor: str | None = None
) -> None:
    """Store imported values in one transaction of an import of their own."""
    batch = await store.accounts.begin_import(None, overwrite=overwrite, actor=actor)(LateWrites.of(writes))
    await batch()


async def value_of(vault: TokenVault, token_key: TokenKey) -> str | None:
    """Return a token's decrypted value, or None if the token is not stored."""
    token = await vault.get_token(token_key)
    return None if token is None else token.value.reveal()


def changes_of(store: Store) -> AccountChanges:
    """Return what changes the accounts of a store besides refreshes."""
    return AccountChanges(store.accounts, uuid4)


def attempts_of(store: Store) -> AttemptLedger:
    """Return what changes the accounts of a store by refreshes."""
    return AttemptLedger(store.accounts)


async def walk(list_page: Callable[..., Awaitable[Page[T]]], limit: int) -> list[T]:
    """Return what the pages of a list hold; no page may have more than ``limit`` items."""
    found: list[T] = []
    after = None
    while True:
        page = await list_page(limit=limit, after=after)
        assert len(page.items) <= limit
        found += page.items
        if (after := page.next) is None:
            return found


def keys_on(page: Page[TokenInfo]) -> list[TokenKey]:
    """Return the keys of a page's tokens."""
    return [info.key for info in page.items]
