"""`Store`: what a store of any kind offers to the composition root."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from vault_domain.entities.measures import PoolCounts
from vault_domain.ports.account_repository import AccountRepository
from vault_domain.ports.audit_log import AuditLog
from vault_domain.ports.change_watch import ChangeHearer, ChangeWatch
from vault_domain.ports.client_states import ClientStates
from vault_domain.ports.home_ledger import HomeLedger
from vault_domain.ports.importing import ImportRepository
from vault_domain.ports.keys import Keys
from vault_domain.ports.refresh_ledger import RefreshLedger
from vault_domain.ports.state_ledger import StateLedger
from vault_domain.ports.tenant_eraser import TenantEraser
from vault_domain.ports.token_repository import TokenRepository
from vault_domain.ports.unread_answers import UnreadAnswers
from vault_domain.services.tokens.account_changes import AccountChanges


class Store(Protocol):
    """A store: one repository per port, over one database."""

    @property
    def tokens(self) -> TokenRepository:
        """The tokens."""

    @property
    def accounts(self) -> AccountRepository:
        """The accounts."""

    @property
    def changes(self) -> AccountChanges:
        """The changes of single accounts."""

    @property
    def keys(self) -> Keys:
        """The master keys and data keys."""

    @property
    def audit(self) -> AuditLog:
        """The audit log."""

    @property
    def refreshes(self) -> RefreshLedger:
        """The refresh state of accounts."""

    @property
    def eraser(self) -> TenantEraser:
        """The erasure of tenants."""

    @property
    def imports(self) -> ImportRepository:
        """The import of tokens of another system."""

    @property
    def clients(self) -> ClientStates:
        """The records of OAuth clients that providers refuse."""

    @property
    def states(self) -> StateLedger:
        """The used states of authorization requests."""

    @property
    def unread(self) -> UnreadAnswers:
        """The answers of providers that could not be read."""


@runtime_checkable
class PooledStore(Protocol):
    """What a store offers in addition if it has a pool of connections."""

    @property
    def pool_counts(self) -> Callable[[], PoolCounts]:
        """The function that returns the state of the pool; any thread may call this function."""


@runtime_checkable
class WatchedStore(Protocol):
    """What a store offers in addition if it can tell that other processes have changed rows."""

    def watch(self, hearer: ChangeHearer) -> AbstractAsyncContextManager[ChangeWatch]:
        """Tell ``hearer`` about changes until the block ends."""


@runtime_checkable
class HomedStore(Protocol):
    """What a store offers in addition if it can tell where its database is."""

    @property
    def homes(self) -> HomeLedger:
        """The record of the database's home."""
