"""A store that tells `RememberedRows` which rows of tokens this process reads and writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from attrs import frozen

from vault_adapters.runtime.forks import OwnStack
from vault_adapters.stores.port import Store, WatchedStore
from vault_domain.memory.answers import Answers
from vault_domain.memory.change_log import EVERYTHING
from vault_domain.memory.rows import RememberedRows
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
from vault_domain.services.tokens.noticing import noticing
from vault_domain.services.tokens.reading import RowReader


@frozen
class NoticedStore:
    """Implements `Store`; its `accounts` report rows of tokens to `RememberedRows`, its `unnoticed` ones do not."""

    accounts: Accounts
    unnoticed: Accounts
    pages: Pages
    keys: Keys
    audit: AuditLog
    clients: ClientStates
    upkeep: Upkeep


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
        own = noticed(store, rows)
        yield own, RowReader(own.accounts, rows, held, tasks, counts)


def noticed(store: Store, rows: RememberedRows) -> NoticedStore:
    """Wrap a store, so that it tells ``rows`` which rows of tokens this process reads and writes."""
    accounts = noticing(rows, store.accounts)
    return NoticedStore(accounts, store.accounts, store.pages, store.keys, store.audit, store.clients, store.upkeep)
