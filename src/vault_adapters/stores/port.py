"""`Store`: what a store of any kind offers to the composition root."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from vault_adapters.runtime.host_connections import HostConnection
    from vault_domain.entities.measures import PoolCounts
    from vault_domain.ports.accounts import Accounts
    from vault_domain.ports.audit_log import AuditLog
    from vault_domain.ports.change_watch import ChangeHearer, ChangeWatch
    from vault_domain.ports.client_states import ClientStates
    from vault_domain.ports.documents import Documents
    from vault_domain.ports.home_ledger import HomeLedger
    from vault_domain.ports.keys import Keys
    from vault_domain.ports.pages import Pages
    from vault_domain.ports.upkeep import Upkeep


class Store(Protocol):
    """A store: six ports over one database."""

    @property
    def accounts(self) -> Accounts:
        """The accounts and their tokens."""

    @property
    def pages(self) -> Pages:
        """The lists and counts of tokens and accounts."""

    @property
    def keys(self) -> Keys:
        """The master keys and data keys."""

    @property
    def audit(self) -> AuditLog:
        """The audit log."""

    @property
    def clients(self) -> ClientStates:
        """The records of OAuth clients that providers refuse."""

    @property
    def upkeep(self) -> Upkeep:
        """Used states, unread answers, and the care of the database."""


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


class HostStore(Protocol):
    """The ports of a store that a transaction of a host may use."""

    @property
    def accounts(self) -> Accounts:
        """The accounts; only `get_many` and `change` may be called."""

    @property
    def keys(self) -> Keys:
        """The keys; only reading keys and creating data keys is allowed."""


@runtime_checkable
class HostedStore(Protocol):
    """What a store offers in addition if it can write on a connection of the host."""

    def on(self, connection: HostConnection) -> AbstractAsyncContextManager[HostStore]:
        """Give ports that write inside the transaction that is open on the host's connection.

        What the block has written is undone if it raises an error. The host's transaction goes on in any case.

        Raises:
            HostTransactionError: this connection cannot be used.
        """


@runtime_checkable
class HomedStore(Protocol):
    """What a store offers in addition if it can tell where its database is."""

    @property
    def homes(self) -> HomeLedger:
        """The record of the database's home."""


@runtime_checkable
class DocumentedStore(Protocol):
    """What a store offers in addition if it can keep what providers publish about themselves."""

    @property
    def documents(self) -> Documents:
        """The sealed documents of providers."""
