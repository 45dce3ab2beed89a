"""The periodic work of an open vault, and the order in which a vault closes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from vault_adapters.runtime.forks import OwnStack
from vault_adapters.runtime.periodic import repeating

if TYPE_CHECKING:
    from vault_adapters.runtime.tasks import AsyncioTasks


class _Refreshing(Protocol):
    @property
    def is_running(self) -> bool: ...

    def stop(self) -> None: ...


class _Keeper(Protocol):
    async def journal_all(self) -> None: ...

    async def retry_all(self) -> None: ...

    async def close(self, seconds: float) -> None: ...

    def report_lost(self) -> None: ...


class _Noted(Protocol):
    async def flush(self) -> None: ...


class Begun(NamedTuple):
    """What a vault that refreshes has to end: its refreshes, and the keeper of the waiting answers."""

    refreshing: _Refreshing
    keeper: _Keeper
    lease: timedelta
    """Longest time that a refresh takes."""


_FLUSH_SECONDS = 10.0
_RETRY_SECONDS = 1.0


@asynccontextmanager
async def running(
    begun: Callable[[], Begun | None], noted: Sequence[_Noted], tasks: AsyncioTasks, *, limit: float
) -> AsyncIterator[None]:
    """Do the periodic work until the block ends, then close the vault.

    Closing has three steps. First, the vault starts no further refresh, and flushes the buffers. Second, it waits for
    the running refreshes, each of which has time limits of its own. Third, it tries for the last time to store the
    waiting answers, which are providers' answers that the database does not have yet. ``limit`` counts from the first
    step. The third step gets the rest of ``limit``, and at least a fifth of ``limit`` even if the running refreshes
    have used all of it.

    Args:
        begun: returns the refreshes, and what keeps the waiting answers and tries every second to journal them and to
            store them; None as long as the vault has not refreshed.
        noted: buffers for times of use, and for audit events about reads and failed decryptions; they are flushed to
            the database every ten seconds.
        tasks: runs the refreshes.
        limit: the configured ``close_timeout`` in seconds.
    """
    async with OwnStack() as stack:
        closing, journaling = partial(_close, begun, limit), partial(_journal, begun)
        await stack.enter_async_context(repeating(partial(_retry, begun), _RETRY_SECONDS, last=closing))
        await stack.enter_async_context(repeating(journaling, _RETRY_SECONDS))
        stack.push_async_callback(_drain, begun, tasks, limit)
        await stack.enter_async_context(repeating(partial(_flush, noted), _FLUSH_SECONDS, limit=limit / 4))
        stack.callback(_stop, begun)
        yield


async def _retry(begun: Callable[[], Begun | None]) -> None:
    if (found := begun()) is not None:
        await found.keeper.retry_all()


async def _journal(begun: Callable[[], Begun | None]) -> None:
    if (found := begun()) is not None:
        await found.keeper.journal_all()


async def _close(begun: Callable[[], Begun | None], limit: float) -> None:
    if (found := begun()) is not None:
        await found.keeper.close(limit)


async def _drain(begun: Callable[[], Begun | None], tasks: AsyncioTasks, limit: float) -> None:
    found = begun()
    if found is None:
        await tasks.drain(limit)
    else:
        lease = found.lease.total_seconds()
        await tasks.drain(min(limit, lease), longest=lease, is_needed=lambda: found.refreshing.is_running)


def _stop(begun: Callable[[], Begun | None]) -> None:
    if (found := begun()) is not None:
        found.refreshing.stop()


async def _flush(noted: Sequence[_Noted]) -> None:
    for each in noted:
        await each.flush()
