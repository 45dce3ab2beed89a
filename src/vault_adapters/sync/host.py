"""`SyncHostTransaction`: the calls that take part in a transaction of the host, for code without an event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from vault_adapters.runtime.host_connections import HostConnection, opened_here
from vault_adapters.sync.rows import CallersThread
from vault_adapters.sync.views import View, blocking
from vault_domain.facade.host import HostTransaction, refuse_other_calls

if TYPE_CHECKING:
    from vault_adapters.sync.session import Call, Session
    from vault_domain.facade.vault import TokenVault

T = TypeVar("T")


class SyncHostTransaction(View[HostTransaction]):
    """Stores and deletes inside the host's own transaction; it has the methods of `HostTransaction`, without await.

    The statements run in the caller's thread.
    """

    _path = "on(...)."

    def __init__(self, session: Session, vault: Callable[[TokenVault], TokenVault], connection: object) -> None:
        super().__init__(session, lambda inner: vault(inner).on(connection))
        self._vault = vault
        self._connection = connection

    def _run(self, call: Call[HostTransaction, T]) -> T:
        thread = CallersThread()
        own = HostConnection(opened_here(self._connection), thread.run)
        return self._session.run(call.at(lambda vault: self._vault(vault).on(own)), thread)

    store_token = blocking(HostTransaction.store_token)
    store_token_set = blocking(HostTransaction.store_token_set)
    delete_account = blocking(HostTransaction.delete_account)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            refuse_other_calls(self, name)
