"""`SyncVault`: the vault for code without an event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from vault_adapters.configuration.opening import misuse
from vault_adapters.sync.session import Call, Session
from vault_adapters.sync.views import View, blocking, blocking_over_rows, walk_pages
from vault_domain.entities.errors import KeyUnavailableError, StorageError
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.text import as_label
from vault_domain.facade.arguments import as_reason
from vault_domain.facade.vault import TokenVault

if TYPE_CHECKING:
    from vault_adapters.configuration.config import VaultConfig
    from vault_adapters.sync.host import SyncHostTransaction
    from vault_adapters.sync.keys import SyncKeys
    from vault_adapters.sync.measures import SyncMeasures
    from vault_adapters.sync.states import SyncStates
    from vault_domain.entities.account import AccountInfo, ConnectionState
    from vault_domain.entities.audit import AuditEvent
    from vault_domain.entities.page import Page
    from vault_domain.entities.reports import Readiness
    from vault_domain.entities.token import Token, TokenInfo
    from vault_domain.facade.feed import EventFeed
    from vault_domain.ports.clock import Clock
    from vault_domain.ports.token_refresher import TokenRefresher

T = TypeVar("T")


class SyncVault(View[TokenVault]):
    """Stores, returns and refreshes a service's tokens, without await; `open_sync_vault` creates it.

    - It has the methods of `TokenVault`, and any thread may call them.
    - The first call opens the vault.
    - A call from a running event loop raises `ConfigurationError`, and so does a call in a process that was forked
      after the first call.
    """

    def open(self) -> Self:
        """Open the vault now, so that a wrong configuration raises at start; return this vault."""
        self._session.open()
        return self

    def close(self) -> None:
        """Refuse new calls, wait for running ones, then close the vault and all its views permanently.

        These calls do not end by themselves, so they end with an error, with code ``vault_closed``:

        - a call for the next page of an `event_feed`, at once;
        - an import of tokens that gets no rows: it takes rows from its caller in batches of up to 1000, and ends if the
          next batch does not come for 30 seconds;
        - a call that was interrupted by a signal handler, if the handler calls this method: after a second.

        In a signal handler, this method returns within two seconds. If the vault is not closed by then, because for
        example a token is being refreshed, the vault's own thread goes on: the provider's answer is stored, and the
        vault closes. The next call of this method waits for that, and so does the end of the process.

        The end of the process closes the vault too, unless the process ends without calling Python's exit functions, as
        by `os._exit` or a signal. Celery's prefork processes end in this way: close the vault at Celery's signal
        ``worker_process_shutdown``.
        """
        self._session.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @scrubbed
    def with_actor(self, actor: str | None, *, reason: str | None = None) -> SyncVault:
        """Return a view of this vault whose audit events carry ``actor``.

        Args:
            actor: 1 to 255 characters, or None.
            reason: why this view reads tokens, as a code ``[a-z0-9_]{1,64}``, for the events of reads.
        """
        name, why = as_label(actor, "actor"), None if reason is None else as_reason(reason)
        return SyncVault(self._session, lambda vault: vault.with_actor(name, reason=why))

    store_token = blocking(TokenVault.store_token)
    store_tokens = blocking(TokenVault.store_tokens)
    get_token = blocking(TokenVault.get_token)
    get_tokens = blocking(TokenVault.get_tokens)
    get_access_token = blocking(TokenVault.get_access_token)
    get_refresh_token = blocking(TokenVault.get_refresh_token)
    mark_token_invalid = blocking(TokenVault.mark_token_invalid)
    delete_token = blocking(TokenVault.delete_token)
    delete_provider_tokens = blocking(TokenVault.delete_provider_tokens)

    store_token_set = blocking(TokenVault.store_token_set)
    get_account = blocking(TokenVault.get_account)
    delete_account = blocking(TokenVault.delete_account)

    ensure_access_token = blocking(TokenVault.ensure_access_token)
    refresh_account = blocking(TokenVault.refresh_account)
    report_rejected = blocking(TokenVault.report_rejected)
    api_hosts = blocking(TokenVault.api_hosts)
    api_header = blocking(TokenVault.api_header)
    api_proof = blocking(TokenVault.api_proof)
    refresh_due = blocking(TokenVault.refresh_due)

    find_expiring_tokens = blocking(TokenVault.find_expiring_tokens)
    list_tokens = blocking(TokenVault.list_tokens)
    list_tenants = blocking(TokenVault.list_tenants)
    list_accounts = blocking(TokenVault.list_accounts)
    find = blocking(TokenVault.find)
    audit_events = blocking(TokenVault.audit_events)
    latest_audit_events = blocking(TokenVault.latest_audit_events)
    prune_audit = blocking(TokenVault.prune_audit)
    audit_head = blocking(TokenVault.audit_head)
    verify_audit = blocking(TokenVault.verify_audit)

    import_tokens = blocking_over_rows(TokenVault.import_tokens)
    export_tokens = blocking(TokenVault.export_tokens)
    find_unreadable_tokens = blocking(TokenVault.find_unreadable_tokens)
    revive_accounts = blocking(TokenVault.revive_accounts)
    restored = blocking(TokenVault.restored)

    health = blocking(TokenVault.health)
    _ready = blocking(TokenVault.ready)

    @scrubbed
    def ready(self, *, timeout: timedelta | float = 1.0) -> Readiness:  # noqa: D102 - the docstring is set below
        try:
            return self._ready(timeout=timeout)
        except StorageError as error:  # the vault could not be opened
            return _not_ready(store=error.reason or error.code)
        except KeyUnavailableError as error:
            return _not_ready(master_key=error.reason or error.code)

    ready.__doc__ = TokenVault.ready.__doc__

    adopt = blocking(TokenVault.adopt)
    erase_tenant = blocking(TokenVault.erase_tenant)

    @scrubbed
    def on(self, connection: object) -> SyncHostTransaction:
        """Return the calls that store and delete inside the host's own transaction; see `HostTransaction`.

        Args:
            connection: a connection to the vault's own database, inside a transaction: of ``psycopg``, ``aiosqlite`` or
                ``sqlite3``, Django's ``connection``, or a connection or session of SQLAlchemy. It must be asynchronous
                for a `TokenVault`, and blocking for a `SyncVault`.
        """
        from vault_adapters.sync.host import SyncHostTransaction
        from vault_domain.facade.host import as_connection

        return SyncHostTransaction(self._session, self._target, as_connection(connection))

    @property
    def keys(self) -> SyncKeys:
        """The keys of this vault: their status and their rotation."""
        from vault_adapters.sync.keys import SyncKeys

        return SyncKeys(self._session, lambda vault: self._target(vault).keys)

    @property
    def measures(self) -> SyncMeasures:
        """The counts and the observers of this vault, for metrics and traces."""
        from vault_adapters.sync.measures import SyncMeasures

        return SyncMeasures(self._session, lambda vault: self._target(vault).measures)

    @property
    def states(self) -> SyncStates:
        """The states of authorization requests, sealed under this vault's keys."""
        from vault_adapters.sync.states import SyncStates

        return SyncStates(self._session, lambda vault: self._target(vault).states)

    def iter_tokens(self, tenant_id: str, *, provider: str | None = None) -> Iterator[TokenInfo]:
        """Iterate over all pages of `list_tokens`."""
        return self._walk("iter_tokens", TokenVault.list_tokens, tenant_id, provider=provider)

    def iter_tenants(self) -> Iterator[str]:
        """Iterate over all pages of `list_tenants`."""
        return self._walk("iter_tenants", TokenVault.list_tenants)

    def iter_accounts(
        self, tenant_id: str | None = None, *, provider: str | None = None, state: ConnectionState | None = None
    ) -> Iterator[AccountInfo]:
        """Iterate over all pages of `list_accounts`."""
        return self._walk("iter_accounts", TokenVault.list_accounts, tenant_id, provider=provider, state=state)

    def iter_expiring_tokens(self, within: timedelta, *, provider: str | None = None) -> Iterator[TokenInfo]:
        """Iterate over all pages of `find_expiring_tokens`."""
        return self._walk("iter_expiring_tokens", TokenVault.find_expiring_tokens, within, provider=provider)

    def iter_exported_tokens(self, tenant_id: str, *, provider: str | None = None) -> Iterator[Token | TokenInfo]:
        """Iterate over all pages of `export_tokens`."""
        return self._walk("iter_exported_tokens", TokenVault.export_tokens, tenant_id, provider=provider)

    def iter_audit_events(self, *, tenant_id: str | None = None) -> Iterator[AuditEvent]:
        """Iterate over all pages of `audit_events`."""
        return self._walk("iter_audit_events", TokenVault.audit_events, tenant_id=tenant_id)

    @scrubbed
    def event_feed(
        self,
        *,
        tenant_id: str | None = None,
        after: str | None = None,
        limit: int = 1000,
        interval: timedelta = timedelta(seconds=1),
    ) -> Iterator[Page[AuditEvent]]:
        """Return a feed that gives the audit events page by page, and waits for the next ones; see `EventFeed`.

        Args:
            tenant_id: see `audit_events`.
            after: the ``cursor`` of the last event that the host has handled; None: from the beginning.
            limit: largest number of events on a page, 1 to 10,000.
            interval: longest time between two reads of the log; a notification leads to an earlier read.
        """
        wanted = {"tenant_id": tenant_id, "after": after, "limit": limit, "interval": interval}
        feed = self._session.run(Call(_event_feed, self._target, (), wanted, "event_feed"))
        return self._follow(feed)

    def _follow(self, feed: EventFeed) -> Iterator[Page[AuditEvent]]:
        while True:
            yield self._session.run(Call(_next_events, self._target, (feed,), {}, "event_feed"))

    def _walk(self, name: str, method: Callable[..., Awaitable[Page[T]]], *args: Any, **kwargs: Any) -> Iterator[T]:
        return walk_pages(self._session, Call(method, self._target, args, kwargs, name))


def _not_ready(**reason: str) -> Readiness:
    from vault_domain.entities.reports import Readiness

    return Readiness(**reason)


async def _event_feed(vault: TokenVault, **wanted: Any) -> EventFeed:
    return vault.event_feed(**wanted)


async def _next_events(_: TokenVault, feed: EventFeed) -> Page[AuditEvent]:
    return await anext(feed)


def open_sync_vault(
    config: VaultConfig,
    *,
    refreshers: Mapping[str, TokenRefresher] | None = None,
    http_client: Any = None,
    pool: Any = None,
    migrate: bool = True,
    clock: Clock | None = None,
    on_event: Callable[[AuditEvent], object] | None = None,
) -> SyncVault:
    """Return a vault for code without an event loop; it opens on the first call or with `SyncVault.open`.

    If the server forks processes (gunicorn with preload, Celery), make the first call after the fork.

    Args:
        config: see `VaultConfig`.
        refreshers: as in `open_vault`.
        http_client: as in `open_vault`; it is used on the vault's own event loop.
        pool: as in `open_vault`; it is used on the vault's own event loop.
        migrate: as in `open_vault`.
        clock: as in `open_vault`.
        on_event: as in `open_vault`; it is called on the vault's own thread and cannot call this vault.
            A function that blocks, or uses Django's ORM, must be asynchronous: wrap it in `asgiref`'s `sync_to_async`.

    An argument of a wrong type raises an error here. The first call raises the other errors of `open_vault`.
    """
    refusal = misuse(config, refreshers, pool, clock, on_event)
    if refusal is not None:
        del config, refreshers, pool, clock, on_event  # a traceback would show them, and one may be a secret
        raise refusal

    def opener() -> AbstractAsyncContextManager[TokenVault]:
        from vault_adapters.composition import open_vault  # many programs, such as Django's commands, open no vault

        return open_vault(
            config,
            refreshers=refreshers,
            http_client=http_client,
            pool=pool,
            migrate=migrate,
            clock=clock,
            on_event=on_event,
        )

    return sync_vault_over(opener)


def sync_vault_over(opener: Callable[[], AbstractAsyncContextManager[TokenVault]]) -> SyncVault:
    """Return a sync vault over the vault that ``opener`` opens, for example with `open_vault_over`."""
    return SyncVault(Session(opener), lambda vault: vault)
