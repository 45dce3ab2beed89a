"""`open_vault`: the composition root, the only module that puts concrete adapters together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from vault_adapters.configuration.opening import misuse, wrong_event_loop
from vault_adapters.crypto.bootstrap import open_with_sources
from vault_adapters.crypto.cipher import AesGcmCipher
from vault_adapters.crypto.keyring import Keyring
from vault_adapters.crypto.master_key_source import MasterKeySource, configured_sources
from vault_adapters.crypto.tenant_keys import TenantKeys
from vault_adapters.runtime.closing import running
from vault_adapters.runtime.forks import OwnStack, refuse_in_children
from vault_adapters.runtime.periodic import CallbackSink
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_adapters.runtime.waking import StoreWaker
from vault_adapters.stores.noticed import remembering
from vault_adapters.stores.port import DocumentedStore, HomedStore, PooledStore, WatchedStore
from vault_adapters.stores.port import Store as Store  # noqa: PLC0414 - also exported from here
from vault_adapters.wiring import WiredServices
from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.facade.vault import TokenVault
from vault_domain.memory.answers import Answers
from vault_domain.services.observing import Observed
from vault_domain.services.tokens.auditing import AuditService
from vault_domain.services.tokens.homes import HomeService
from vault_domain.services.tokens.opening import TokenOpener
from vault_domain.services.tokens.uses import UseTracker

if TYPE_CHECKING:
    from vault_adapters.configuration.config import VaultConfig
    from vault_domain.entities.audit import AuditEvent
    from vault_domain.entities.secret import Secret
    from vault_domain.ports.cipher import Cipher
    from vault_domain.ports.clock import Clock
    from vault_domain.ports.event_sink import EventSink
    from vault_domain.ports.journal import RefreshJournal
    from vault_domain.ports.master_key import MasterKeys
    from vault_domain.ports.tasks import Tasks
    from vault_domain.ports.token_refresher import TokenRefresher
    from vault_domain.services.tokens.hosting import HostPorts
    from vault_domain.services.tokens.reading import RowReader

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
        on_event: called at most once with each audit event after its commit; exceptions that it raises are logged. If
            it is a coroutine function, the calls run one after the other, beside the vault's work.

    Raises:
        InvalidInputError: an argument has a wrong type.
        ConfigurationError: the configuration is invalid or does not fit the database; no key and no token was written.
        WrongEncryptionSecretError: the secret does not belong to this database; no key and no token was written, but
            with ``migrate=True`` the schema may have been created or migrated.
        SchemaOutdatedError: the schema is missing or old and ``migrate`` is False.
        KeyUnavailableError: the master key is used for the first time, and its key service cannot be reached.
        StorageError: the database cannot be reached.
    """
    refusal = misuse(config, refreshers, pool, clock, on_event) or wrong_event_loop()
    if refusal is not None:
        del config, refreshers, pool, clock, on_event  # a traceback would show them, and one may be a secret
        raise refusal
    # `_sources` refuses an invalid secret or master key before the store is opened, so that nothing is written.
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
        InvalidInputError, ConfigurationError, WrongEncryptionSecretError, KeyUnavailableError, StorageError: see
            `open_vault`.
    """
    refusal = misuse(config, refreshers, on_event=on_event) or wrong_event_loop()
    if refusal is not None:
        del config, refreshers, on_event  # a traceback would show them, and one may be a secret
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
    journal, observed = _journal(config.journal_dir), Observed()
    async with OwnStack() as stack:
        stack.callback(observed.close)
        master_keys = await open_with_sources(store.keys, sources)
        sources.clear()  # they hold the encryption secret, and the callers' frames hold this list
        keyring, tenant_keys = _keyring(store, master_keys, config)
        stack.push_async_callback(keyring.aclose)
        tasks, commits = AsyncioTasks(), AsyncioTasks()
        waker = StoreWaker(store.watch if isinstance(store, WatchedStore) else None)
        stack.push_async_callback(waker.aclose)
        held = Answers(commits, config.tuning.hold_answers.total_seconds())
        pool = store.pool_counts if isinstance(store, PooledStore) else None
        memory = remembering(store, config.memory, held, tasks, keyring.holds, clock, observed.reads)
        homes = store.homes if isinstance(store, HomedStore) else None
        own, reader = await stack.enter_async_context(memory)
        told = CallbackSink(on_event)
        stack.push_async_callback(told.aclose, config.tuning.close_timeout.total_seconds())
        sink = held.watching(told)
        cipher = AesGcmCipher(keyring, sink)
        home = HomeService(homes, sink, config.deployment)
        await home.settle()
        auditing = AuditService(
            own.audit, sink, tasks.monotonic, reads=config.audit_reads, retention=config.audit_retention
        )
        opener, uses = TokenOpener(cipher, sink, own.accounts, auditing.unreadable), UseTracker(own.accounts)
        bound = await _bound(refreshers or {}, http_client, stack)
        _keep_documents(bound, store, cipher, stack)
        closed = asyncio.Event()
        services = WiredServices(
            store=own,
            reader=reader,
            keyring=keyring,
            master_keys=master_keys,
            cipher=cipher,
            sink=sink,
            tasks=tasks,
            commits=commits,
            opener=opener,
            uses=uses,
            auditing=auditing,
            homes=home,
            held=held,
            observed=observed,
            journal=journal,
            waker=waker,
            pool=pool,
            config=config,
            named=bound,
            packaged=_packaged_key,
            on=_on_hosts(closed, store, (keyring, master_keys, tenant_keys, sink), held, reader, tasks),
        )
        refuse_in_children(services)
        stack.callback(_report_lost, services)
        stack.push_async_callback(commits.drain, 0)
        stack.callback(closed.set)
        limit = config.tuning.close_timeout.total_seconds()
        if bound or config.journal_dir is not None:  # without either, nothing is refreshed and no answer waits
            await services.keeper.recover()
        await stack.enter_async_context(running(lambda: services.begun, (uses, auditing), tasks, limit=limit))
        if bound:
            services.prepare_to_refresh()
            await services.rereader.read_all()
        yield TokenVault(services)


def _journal(directory: Path | None) -> Callable[[], RefreshJournal]:
    """Return what gives the journal; make it now if it has a directory, because an unusable one is an error."""
    if directory is None:
        return _no_journal
    from vault_adapters.runtime.journal import FileJournal

    made = FileJournal(directory)
    return lambda: made


def _no_journal() -> RefreshJournal:
    from vault_adapters.runtime.journal import NoJournal

    return NoJournal()


def _report_lost(services: WiredServices) -> None:
    begun = services.begun
    if begun is not None:
        begun.keeper.report_lost()


async def _bound(
    refreshers: Mapping[str, TokenRefresher], http_client: Any, stack: AsyncExitStack
) -> dict[str, TokenRefresher]:
    if not refreshers:  # providers are loaded only by a host that refreshes
        return {}
    from vault_adapters.providers.http import bound_refreshers

    return await bound_refreshers(refreshers, http_client, stack)


def _keep_documents(bound: Mapping[str, TokenRefresher], store: Store, cipher: Cipher, stack: AsyncExitStack) -> None:
    """Let the refreshers keep documents of their providers in the database until the vault is closed."""
    if bound and isinstance(store, DocumentedStore):  # loaded only by a host that refreshes
        from vault_domain.ports.documents import DocumentUser
        from vault_domain.services.refresh.documents import SealedDocuments

        for user in (each for each in bound.values() if isinstance(each, DocumentUser)):
            stack.enter_context(user.kept_by(SealedDocuments(store.documents, cipher)))


def _packaged_key(provider: str) -> TokenRefresher | None:
    """Return what the package knows of a provider's API keys, if these do not expire."""
    from vault_adapters.providers.static_keys import packaged_keys

    return packaged_keys().get(provider)


def _keyring(store: Store, master_keys: MasterKeys, config: VaultConfig) -> tuple[Keyring, TenantKeys]:
    renewing, tenant_keys = bool(config.serve_stale), TenantKeys(config.tuning.key_service_tokens)
    ttl = config.data_key_ttl
    return Keyring(store.keys, master_keys, ttl=ttl, renewing=renewing, tenant_keys=tenant_keys), tenant_keys


def _on_hosts(
    closed: asyncio.Event,
    store: Store,
    sealing: tuple[Keyring, MasterKeys, TenantKeys, EventSink],
    held: Answers,
    reader: RowReader,
    tasks: Tasks,
) -> Callable[[object], AbstractAsyncContextManager[HostPorts]]:
    loop = asyncio.get_running_loop()

    def on(connection: object) -> AbstractAsyncContextManager[HostPorts]:
        from vault_adapters.hosting import host_ports

        return host_ports(
            connection, loop=loop, closed=closed, store=store, sealing=sealing, held=held, reader=reader, tasks=tasks
        )

    return on


def _sources(config: VaultConfig) -> list[MasterKeySource]:
    sources = configured_sources(
        config.encryption_secret,
        config.previous_encryption_secret,
        config.scrypt_log2_n,
        config.master_key,
        config.previous_master_key,
        config.tuning.key_service_tokens,
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
    from vault_adapters.stores.sqlite.store import open_sqlite_store

    return open_sqlite_store(url.target.reveal(), migrate=migrate, clock=now, timeout=config.storage_timeout)


def schema_script(
    config: VaultConfig, *, tenants_table: str | None = None, tenants_column: str = "id", citus: bool = False
) -> str:
    """Return the SQL that creates the schema in the configured kind of database.

    Args:
        config: the configuration; only its database URL and, on Postgres, its schema name are used.
        tenants_table: the host's own table of tenants, as ``schema.table`` (Postgres only). If given, the script
            creates a trigger instead of the schema. The trigger erases a tenant in the vault when its row in this table
            is deleted.
        tenants_column: the column of that table with the tenants' ids.
        citus: True: the script also distributes the tables over the nodes of a Citus cluster, by tenant (Postgres
            only).

    Raises:
        InvalidInputError: ``tenants_table`` or ``tenants_column`` is not a valid name; ``tenants_table`` and ``citus``
            are both given; or one of the two is given, but the database is not Postgres.
        ConfigurationError: the database is Postgres, but its driver is not installed.
    """
    if citus and tenants_table is not None:
        raise InvalidInputError("the trigger on a table of tenants does not work with Citus")
    if config.database_url.parse().backend == "postgres":
        with _postgres_extra():
            from vault_adapters.stores.postgres import citus as citus_schema
            from vault_adapters.stores.postgres import schema, tenants
        if citus:
            return citus_schema.citus_sql(config.postgres_schema)
        if tenants_table is None:
            return schema.schema_sql(config.postgres_schema)
        return tenants.tenants_trigger_sql(config.postgres_schema, tenants_table, tenants_column)
    if citus:
        raise InvalidInputError("Citus distributes tables of Postgres only")
    if tenants_table is not None:
        raise InvalidInputError("the trigger on a table of tenants exists for Postgres only")
    from vault_adapters.stores.sqlite.schema import schema_sql as sqlite_schema_sql

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
