"""`open_vault`: the composition root, the only module that names concrete adapters."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

from attrs import evolve

from vault_adapters.configuration.config import VaultConfig
from vault_adapters.configuration.opening import misuse
from vault_adapters.crypto.bootstrap import open_with_sources
from vault_adapters.crypto.cipher import AesGcmCipher
from vault_adapters.crypto.keyring import Keyring
from vault_adapters.crypto.master_key_source import MasterKeySource, configured_sources
from vault_adapters.providers.http import bound_refreshers
from vault_adapters.runtime.closing import running
from vault_adapters.runtime.journal import FileJournal, NoJournal
from vault_adapters.runtime.periodic import CallbackSink
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_adapters.stores.noticed import remembering
from vault_adapters.stores.port import Store as Store  # noqa: PLC0414 - also exported from here
from vault_adapters.stores.sqlite.schema import schema_sql as sqlite_schema_sql
from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.entities.secret import Secret
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.cipher import Cipher
from vault_domain.ports.clock import Clock
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.master_key import MasterKeys
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import TokenRefresher
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.rules.refresh import RefreshTiming
from vault_domain.services.keys.data_keys import RotationService
from vault_domain.services.keys.master_keys import RewrappingService
from vault_domain.services.keys.values import ResealingService
from vault_domain.services.refresh.access import RefreshService
from vault_domain.services.refresh.answers import AnswerKeeper
from vault_domain.services.refresh.attempts import AttemptRunner
from vault_domain.services.refresh.clients import ClientGuard
from vault_domain.services.refresh.failures import FailureRecorder
from vault_domain.services.refresh.provider_rules import policy_of, provider_rules
from vault_domain.services.refresh.rejections import RejectionService
from vault_domain.services.refresh.sweep import SweepService
from vault_domain.services.tokens.accounts import AccountService
from vault_domain.services.tokens.clients import Clients
from vault_domain.services.tokens.erasing import ErasureService
from vault_domain.services.tokens.health import HealthService
from vault_domain.services.tokens.held import HeldAnswers
from vault_domain.services.tokens.hosts import ApiHosts
from vault_domain.services.tokens.importing import ImportService
from vault_domain.services.tokens.listing import ListingService
from vault_domain.services.tokens.opening import TokenOpener
from vault_domain.services.tokens.reading import RowReader
from vault_domain.services.tokens.revival import RevivalService
from vault_domain.services.tokens.revocation import RevocationService
from vault_domain.services.tokens.single import TokenService
from vault_domain.services.tokens.states import StateService
from vault_domain.services.tokens.uses import UseTracker
from vault_domain.services.use_cases import KeyServices, VaultServices

_log = logging.getLogger(__name__)


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
    """Open a vault; the end of the block closes it with all its tasks, threads and connections.

    Args:
        config: see `VaultConfig`.
        refreshers: the refresher of each provider, by the provider's name.
        http_client: an ``httpx2`` or ``httpx`` client for the refreshers; the vault never closes it.
        pool: the host's own Postgres connection pool; the vault never closes it.
        migrate: True creates or migrates the schema; False raises an error if it is missing or old.
        clock: replaces the database's time, also for leases; meant for tests.
        on_event: called at most once with each audit event after its commit; exceptions that it raises are logged.

    Raises:
        ConfigurationError: the configuration is invalid or does not fit the database; nothing was written.
        WrongEncryptionSecretError: the secret does not belong to this database; nothing was written.
        SchemaOutdatedError: the schema is missing or old and ``migrate`` is False.
        StorageError: the database cannot be reached.
    """
    refusal = misuse(config, refreshers, pool, clock, on_event)
    if refusal is not None:
        del config, refreshers, pool, clock, on_event  # one of them may be a secret
        raise refusal
    # Checked before the store is opened, so that a wrong configuration writes nothing.
    sources, config = _sources(config), _without_secrets(config)
    if config.uses_default_database:
        path = config.database_url.parse().target.reveal()
        _log.warning("no database is configured; tokens are kept in the file %s", path)
    async with (
        _open_store(config, pool, clock, migrate=migrate) as store,
        _run(store, sources, config, refreshers, http_client, on_event, clock) as vault,
    ):
        yield vault


@asynccontextmanager
async def open_vault_over(
    store: Store,
    config: VaultConfig,
    *,
    refreshers: Mapping[str, TokenRefresher] | None = None,
    http_client: Any = None,
    on_event: Callable[[AuditEvent], object] | None = None,
) -> AsyncIterator[TokenVault]:
    """Open a vault over a store that another package implements.

    Args:
        store: the open store, with its schema; the vault takes the time from the store and never closes it.
        config: see `VaultConfig`; its database fields are ignored.
        refreshers, http_client, on_event: see `open_vault`.

    Raises:
        ConfigurationError: see `open_vault`.
    """
    refusal = misuse(config, refreshers, on_event=on_event)
    if refusal is not None:
        del config, refreshers, on_event  # one of them may be a secret
        raise refusal
    sources, config = _sources(config), _without_secrets(config)
    async with _run(store, sources, config, refreshers, http_client, on_event) as vault:
        yield vault


@asynccontextmanager
async def _run(
    store: Store,
    sources: list[MasterKeySource],
    config: VaultConfig,
    refreshers: Mapping[str, TokenRefresher] | None,
    http_client: Any,
    on_event: Callable[[AuditEvent], object] | None,
    clock: Clock | None = None,
) -> AsyncIterator[TokenVault]:
    journal = NoJournal() if config.journal_dir is None else FileJournal(config.journal_dir)
    async with AsyncExitStack() as stack:
        master_keys = await open_with_sources(store.keys, sources)
        sources.clear()  # they hold the encryption secret, and the callers' frames hold this list
        keyring = Keyring(store.keys, master_keys, ttl=config.data_key_ttl, renewing=bool(config.serve_stale))
        stack.push_async_callback(keyring.aclose)
        tasks, commits = AsyncioTasks(), AsyncioTasks()
        held = HeldAnswers(commits)
        memory = remembering(store, config.memory, held, tasks, keyring.holds, clock)
        store, reader = await stack.enter_async_context(memory)
        sink = held.watching(CallbackSink(on_event))
        cipher = AesGcmCipher(keyring, sink)
        bound = await bound_refreshers(refreshers or {}, http_client, stack)
        timing = RefreshTiming(
            config.refresh_deadline,
            config.quiescence,
            answer_deadline=config.answer_deadline,
            hold=config.hold_answers,
        )
        opener, uses = TokenOpener(cipher, sink, store.tokens), UseTracker(store.tokens)
        keeper = AnswerKeeper(store.refreshes, cipher, opener, sink, journal, commits, timing, held)
        stack.callback(keeper.report_lost)
        stack.push_async_callback(commits.drain, 0)
        await keeper.recover()
        keys = _key_services(
            store=store, keyring=keyring, cipher=cipher, sink=sink, tasks=tasks, master_keys=master_keys
        )
        services = _vault_services(
            store=store,
            cipher=cipher,
            sink=sink,
            tasks=tasks,
            opener=opener,
            uses=uses,
            keeper=keeper,
            timing=timing,
            config=config,
            policy=policy_of(bound, config.refresh_buffer, config.reconnect_notice),
            refreshers=bound,
            keys=keys,
            reader=reader,
            window=ConfirmationWindow(config.rejection_confirm_after, config.rejection_confirm_within),
        )
        limit, lease = config.close_timeout.total_seconds(), timing.lease.total_seconds()
        await stack.enter_async_context(running(services.refreshing, keeper, uses, tasks, limit=limit, lease=lease))
        yield TokenVault(services)


def _sources(config: VaultConfig) -> list[MasterKeySource]:
    sources = configured_sources(
        config.encryption_secret,
        config.previous_encryption_secret,
        config.scrypt_log2_n,
        config.master_key,
        config.previous_master_key,
    )
    return list(sources)


def _without_secrets(config: VaultConfig) -> VaultConfig:
    """Return the configuration to keep while the vault is open; the host's own object stays as it is."""
    return evolve(config, encryption_secret=None, previous_encryption_secret=None)


def _open_store(
    config: VaultConfig, pool: Any, clock: Clock | None, *, migrate: bool
) -> AbstractAsyncContextManager[Store]:
    now = None if clock is None else clock.now
    url = config.database_url.parse()
    if url.backend == "postgres":
        return _open_postgres_store(url.target, config, pool, now, migrate=migrate)
    if pool is not None:
        raise ConfigurationError("a pool was given, but database_url names no Postgres database", code="host_pool")
    return open_sqlite_store(url.target.reveal(), migrate=migrate, clock=now, timeout=config.storage_timeout)


def schema_script(config: VaultConfig, *, tenants_table: str | None = None, tenants_column: str = "id") -> str:
    """Return the SQL that creates the schema in the configured kind of database.

    Args:
        config: the configuration; only its database URL and, on Postgres, its schema name are used.
        tenants_table: the host's own table of tenants, as ``schema.table`` (Postgres only). If given, the script
            creates a trigger instead of the schema. The trigger erases a tenant in the vault when its row in this table
            is deleted.
        tenants_column: the column of that table with the tenants' ids.

    Raises:
        InvalidInputError: the table or column is not a valid name, or the database is not Postgres.
    """
    if config.database_url.parse().backend == "postgres":
        with _postgres_extra():
            from vault_adapters.stores.postgres import schema, tenants
        if tenants_table is None:
            return schema.schema_sql(config.postgres_schema)
        return tenants.tenants_trigger_sql(config.postgres_schema, tenants_table, tenants_column)
    if tenants_table is not None:
        raise InvalidInputError("the trigger on a table of tenants exists for Postgres only")
    return sqlite_schema_sql()


@contextmanager
def _postgres_extra() -> Iterator[None]:
    try:
        yield  # import the driver only where it is used, because a host on SQLite need not install it
    except ImportError:
        raise ConfigurationError(
            "Postgres needs psycopg and psycopg-pool: install token-vault[postgres]", code="missing_extra"
        ) from None


def _open_postgres_store(
    url: Secret, config: VaultConfig, pool: Any, now: Callable[[], datetime] | None, *, migrate: bool
) -> AbstractAsyncContextManager[Store]:
    with _postgres_extra():
        from vault_adapters.stores.postgres.store import open_postgres_store
    return open_postgres_store(
        url,
        migrate=migrate,
        clock=now,
        schema=config.postgres_schema,
        pool=pool,
        pool_size=config.pool_size,
        prepare=config.prepared_statements,
        timeout=config.storage_timeout,
    )


def _key_services(
    *, store: Store, keyring: Keyring, cipher: Cipher, sink: EventSink, tasks: Tasks, master_keys: MasterKeys
) -> KeyServices:
    return KeyServices(
        rotating=RotationService(store.keys, store.key_rotation, keyring, cipher, sink, tasks, master_keys),
        resealing=ResealingService(store.key_rotation, cipher, sink, tasks),
        rewrapping=RewrappingService(store.keys, store.key_rotation, keyring, sink, tasks, master_keys),
    )


def _vault_services(
    *,
    store: Store,
    cipher: Cipher,
    sink: EventSink,
    tasks: Tasks,
    opener: TokenOpener,
    uses: UseTracker,
    keeper: AnswerKeeper,
    timing: RefreshTiming,
    config: VaultConfig,
    policy: RefreshPolicy,
    refreshers: Mapping[str, TokenRefresher],
    keys: KeyServices,
    reader: RowReader,
    window: ConfirmationWindow,
) -> VaultServices:
    rules = provider_rules(refreshers, timing)
    spends = {name: rule.spends for name, rule in rules.items()}
    ledger, clients = store.refreshes, Clients(refreshers)
    tokens = TokenService(store.tokens, cipher, sink, opener, uses, policy, reader, clients)
    guard = ClientGuard(store.clients, sink, tasks, clients, config.client_rules)
    failures = FailureRecorder(ledger, sink, tasks, guard, config.exhausted_after)
    most = config.provider_concurrency
    runner = AttemptRunner(ledger, cipher, opener, keeper, failures, guard, tasks, policy, timing, refreshers, most)
    revoker = RevocationService(ledger, opener, tasks, refreshers, timing.deadline, store.accounts)
    refreshing = RefreshService(tokens, ledger, runner, keeper, tasks, policy, rules)
    sweeping = SweepService(ledger, runner, keeper, tasks, policy, rules, tokens)
    return VaultServices(
        tokens=tokens,
        accounts=AccountService(store.accounts, cipher, sink, revoker, policy, spends, clients),
        listing=ListingService(store.tokens, store.accounts, store.audit, spends, store.keys),
        health=HealthService(store.tokens, cipher, opener, policy.buffer, store.clients, window.most, policy.notice),
        refreshing=refreshing,
        rejections=RejectionService(tokens, ledger, keeper, refreshing, rules, window),
        sweeping=sweeping,
        keys=keys,
        erasing=ErasureService(store.eraser, cipher, sink),
        importing=ImportService(store.imports, cipher, sink, tasks, policy),
        reviving=RevivalService(store.revivals, sink),
        states=StateService(store.accounts, cipher, store.states),
        hosts=ApiHosts(refreshers),
    )
