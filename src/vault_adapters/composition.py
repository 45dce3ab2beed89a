"""`open_vault`: the composition root, the only module that names concrete adapters."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from vault_adapters.config import VaultConfig
from vault_adapters.crypto.bootstrap import open_with_sources
from vault_adapters.crypto.cipher import AesGcmCipher
from vault_adapters.crypto.master_key_source import MasterKeySource, configured_sources
from vault_adapters.database_url import parse_url
from vault_adapters.runtime import CallbackSink, repeating
from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_domain.audit import AuditEvent
from vault_domain.policy import RefreshPolicy
from vault_domain.ports.account_repository import AccountRepository
from vault_domain.ports.audit_log import AuditLog
from vault_domain.ports.cipher import Cipher
from vault_domain.ports.clock import Clock
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.key_repository import KeyRepository
from vault_domain.ports.token_refresher import TokenRefresher
from vault_domain.ports.token_repository import TokenRepository
from vault_domain.services.accounts import AccountService
from vault_domain.services.health import HealthService
from vault_domain.services.listing import ListingService
from vault_domain.services.opening import TokenOpener
from vault_domain.services.tokens import TokenService
from vault_domain.services.uses import UseTracker
from vault_domain.vault import TokenVault, VaultServices

_log = logging.getLogger(__name__)

_FLUSH_SECONDS = 10.0


class Store(Protocol):
    """What a store offers: one repository per port, over one database."""

    @property
    def tokens(self) -> TokenRepository:
        """The tokens."""

    @property
    def accounts(self) -> AccountRepository:
        """The accounts."""

    @property
    def keys(self) -> KeyRepository:
        """The key tables."""

    @property
    def audit(self) -> AuditLog:
        """The audit log."""


@asynccontextmanager
async def open_vault(
    config: VaultConfig,
    *,
    refreshers: Mapping[str, TokenRefresher] | None = None,
    http_client: Any = None,
    pool: Any = None,
    migrate: bool = True,
    clock: Clock | None = None,
    on_event: Callable[[AuditEvent], object] | None = None,
) -> AsyncIterator[TokenVault]:
    """Open a vault; leaving the context closes it and leaves no task, thread or connection behind.

    Args:
        config: see `VaultConfig`.
        refreshers: how to get a new access token, by provider.
        http_client: an ``httpx2`` or ``httpx`` client for the refreshers; it is used and never closed.
        pool: a host's own connection pool for Postgres; it is used and never closed.
        migrate: False refuses a missing or old schema instead of creating or migrating it.
        clock: replaces the database's time, leases included; meant for tests.
        on_event: called with each audit event after its commit, at most once; what it raises is logged.

    Raises:
        ConfigurationError: the configuration, or the database for it, cannot be used; nothing was written.
        WrongEncryptionSecretError: the secret is not this database's; nothing was written.
        SchemaOutdatedError: the schema is missing or old and ``migrate`` is False.
        StorageError: the database cannot be reached.
    """
    sources = _sources(config)  # before the store is opened: a wrong configuration writes nothing
    if config.uses_default_database:
        _log.warning("no database is configured; tokens are kept in the file %s", parse_url(config.database_url).target)
    async with (
        _open_store(config, pool, clock, migrate=migrate) as store,
        _run(store, sources, config, refreshers, on_event) as vault,
    ):
        yield vault


@asynccontextmanager
async def open_vault_over(
    store: Store,
    config: VaultConfig,
    *,
    refreshers: Mapping[str, TokenRefresher] | None = None,
    on_event: Callable[[AuditEvent], object] | None = None,
) -> AsyncIterator[TokenVault]:
    """Open a vault over a store of one's own: for stores that live outside of this package, and for their tests.

    Args:
        store: open, with its schema; it is used and never closed. Its clock is the vault's.
        config: see `VaultConfig`; what it says of the database does not count.
        refreshers: see `open_vault`.
        on_event: see `open_vault`.

    Raises:
        ConfigurationError: as `open_vault` does.
    """
    async with _run(store, _sources(config), config, refreshers, on_event) as vault:
        yield vault


@asynccontextmanager
async def _run(
    store: Store,
    sources: tuple[MasterKeySource, ...],
    config: VaultConfig,
    refreshers: Mapping[str, TokenRefresher] | None,
    on_event: Callable[[AuditEvent], object] | None,
) -> AsyncIterator[TokenVault]:
    async with AsyncExitStack() as stack:
        cipher = await _open_cipher(store.keys, sources, config)
        stack.push_async_callback(cipher.aclose)
        sink = CallbackSink(on_event)
        uses = UseTracker(store.tokens)
        await stack.enter_async_context(repeating(uses.flush, _FLUSH_SECONDS))
        yield TokenVault(_wire(config, store, cipher, sink, uses, refreshers or {}))


def _sources(config: VaultConfig) -> tuple[MasterKeySource, ...]:
    return configured_sources(
        config.encryption_secret,
        config.previous_encryption_secret,
        config.scrypt_log2_n,
        config.master_key,
        config.previous_master_key,
    )


def _open_store(
    config: VaultConfig, pool: Any, clock: Clock | None, *, migrate: bool
) -> AbstractAsyncContextManager[Store]:
    now = None if clock is None else clock.now
    url = parse_url(config.database_url)
    return open_sqlite_store(url.target, migrate=migrate, clock=now)


async def _open_cipher(keys: KeyRepository, sources: tuple[MasterKeySource, ...], config: VaultConfig) -> AesGcmCipher:
    master_keys = await open_with_sources(keys, sources)
    return AesGcmCipher(keys, master_keys, ttl=config.data_key_ttl)


def _wire(
    config: VaultConfig,
    store: Store,
    cipher: Cipher,
    sink: EventSink,
    uses: UseTracker,
    refreshers: Mapping[str, TokenRefresher],
) -> VaultServices:
    opener = TokenOpener(cipher, sink)
    policy = RefreshPolicy(config.refresh_buffer)
    spends = {provider: refresher.spends for provider, refresher in refreshers.items()}
    return VaultServices(
        tokens=TokenService(store.tokens, cipher, sink, opener, uses, policy),
        accounts=AccountService(store.accounts, cipher, sink, spends),
        listing=ListingService(store.tokens, store.accounts, store.audit, spends),
        health=HealthService(store.tokens, cipher, opener, config.refresh_buffer),
    )
