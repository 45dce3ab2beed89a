"""The periodic work of an open vault, and the order in which a vault closes."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

from vault_adapters.runtime.forks import OwnStack
from vault_adapters.runtime.periodic import repeating
from vault_adapters.runtime.tasks import AsyncioTasks


class _Refreshing(Protocol):
    @property
    def is_running(self) -> bool: ...

    def stop(self) -> None: ...


class _Keeper(Protocol):
    async def journal_all(self) -> None: ...

    async def retry_all(self) -> None: ...

    async def close(self, seconds: float) -> None: ...


class _Noted(Protocol):
    async def flush(self) -> None: ...


_FLUSH_SECONDS = 10.0
_RETRY_SECONDS = 1.0


@asynccontextmanager
async def running(
    refreshing: _Refreshing,
    keeper: _Keeper,
    noted: Sequence[_Noted],
    tasks: AsyncioTasks,
    *,
    limit: float,
    lease: float,
) -> AsyncIterator[None]:
    """Do the periodic work until the block ends, then close the vault.

    Closing has three steps. First, the vault starts no further refresh, and flushes the buffers. Second, it waits for
    the running refreshes, each of which has time limits of its own. Third, it tries for the last time to store the
    waiting answers, which are providers' answers that the database does not have yet. ``limit`` counts from the first
    step. The third step gets the rest of ``limit``, and at least a fifth of ``limit`` even if the running refreshes
    have used all of it.

    Args:
        refreshing: the refreshes.
        keeper: keeps the waiting answers, and tries every second to journal them and to store them.
        noted: buffers for times of use, and for audit events about reads and failed decryptions; they are flushed to
            the database every ten seconds.
        tasks: runs the refreshes.
        limit: the configured ``close_timeout`` in seconds.
        lease: longest time in seconds that a refresh takes.
    """
    async with OwnStack() as stack:
        closing = partial(keeper.close, limit)
        await stack.enter_async_context(repeating(keeper.retry_all, _RETRY_SECONDS, last=closing))
        await stack.enter_async_context(repeating(keeper.journal_all, _RETRY_SECONDS))
        drain = partial(tasks.drain, longest=lease, is_needed=lambda: refreshing.is_running)
        stack.push_async_callback(drain, min(limit, lease))
        await stack.enter_async_context(repeating(partial(_flush, noted), _FLUSH_SECONDS, limit=limit / 4))
        stack.callback(refreshing.stop)
        yield


async def _flush(noted: Sequence[_Noted]) -> None:
    for each in noted:
        await each.flush()
