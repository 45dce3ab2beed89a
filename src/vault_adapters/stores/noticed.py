"""A store that tells `RememberedRows` which rows of tokens this process reads and writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from vault_adapters.runtime.forks import OwnStack
from vault_adapters.stores.port import WatchedStore
from vault_domain.memory.change_log import EVERYTHING
from vault_domain.memory.rows import RememberedRows
from vault_domain.services.tokens.noticing import noticing
from vault_domain.services.tokens.reading import RowReader

if TYPE_CHECKING:
    from vault_adapters.stores.port import Store
    from vault_domain.memory.answers import Answers
    from vault_domain.ports.accounts import Accounts
    from vault_domain.ports.audit_log import AuditLog
    from vault_domain.ports.client_states import ClientStates
    from vault_domain.ports.clock import Clock
    from vault_domain.ports.keys import Keys
    from vault_domain.ports.pages import Pages
    from vault_domain.ports.tasks import Tasks
    from vault_domain.ports.upkeep import Upkeep
    from vault_domain.rules.remembering import MemoryPolicy
    from vault_domain.services.observing import ReadCounts


class NoticedStore:
    """Implements `Store`; its `accounts` report rows of tokens to `RememberedRows`, its `unnoticed` ones do not."""

    accounts: Accounts
    pages: Pages
    keys: Keys
    audit: AuditLog
    clients: ClientStates
    upkeep: Upkeep

    def __init__(self, store: Store, rows: RememberedRows) -> None:
        self._store = store
        self.unnoticed = store.accounts
        self.accounts = noticing(rows, store.accounts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@asynccontextmanager
async def remembering(
    store: Store,
    policy: MemoryPolicy,
    held: Answers,
    tasks: Tasks,
    is_at_hand: Callable[[str, bytes], bool],
    clock: Clock | None,
    counts: ReadCounts | None = None,
) -> AsyncIterator[tuple[NoticedStore, RowReader]]:
    """Yield a store that reports rows to `RememberedRows`, and a reader that may answer from these rows.

    Args:
        store: the store. It is watched until the block ends if it is a `WatchedStore` and there is a read cache.
        policy: the limits of `RememberedRows`.
        held: the waiting answers, which the store has not stored yet.
        tasks: tells the monotonic time, and runs reads.
        is_at_hand: see `RememberedRows`.
        clock: see `RememberedRows`.
        counts: counts the reads.
    """
    rows = RememberedRows(policy, tasks, is_at_hand, clock)
    async with OwnStack() as stack:
        if policy.read_cache and isinstance(store, WatchedStore):
            rows.watch_by(await stack.enter_async_context(store.watch(rows)))
        # Forget the remembered rows, because they hold subkeys, and the host may keep the object of the closed vault.
        stack.callback(rows.forget, EVERYTHING)
        own = NoticedStore(store, rows)
        yield own, RowReader(own.accounts, rows, held, tasks, counts)
