"""Batches reads: one query serves all reads that begin in the same round of the event loop.

Other modules use the functions `own_loop` and `fail` too, and both stores the type `Asked`.
"""

import asyncio
import copy
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

from vault_adapters.runtime.flights import Flights
from vault_adapters.runtime.forks import used_across_fork
from vault_adapters.runtime.ticks import Ticks
from vault_domain.entities import causes
from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import ConfigurationError, StorageError, VaultError
from vault_domain.entities.token import StoredToken

K = TypeVar("K")
V = TypeVar("V")

_UNDIVIDED = 8
"""Largest number of reads that always go in one batch, because each batch has a cost of its own."""

Asked = tuple[TokenKey, StoredToken | None]
"""A question for a token: its key, and the token as the caller remembers it; None: the caller remembers none."""

_Waiter = tuple[K, asyncio.Future[V], int]
"""A read that is not answered yet: its key, the future for its value, and the number of the tick in which it began."""

_TOO_LATE = "the database did not answer in time"


class ReadBatcher(Generic[K, V]):
    """Collects single reads and runs them as one query.

    Cancelling a caller does not cancel the query. If the query fails, each caller raises its own copy of the error.

    Args:
        session: returns a context manager that gives the function for reading a batch. The function gets keys, which
            may repeat, and returns one value per key, in order. The context stays open while batches follow one another
            directly, so that it may keep one connection for them. Entering the context must not raise an error.
        most_keys: largest number of keys in a batch.
        most_batches: largest number of concurrent batches.
        patience: seconds after which a read fails that is not answered yet, as `Ticks` counts them. This holds for a
            read that waits, and for a read of a running batch.
    """

    def __init__(
        self,
        session: Callable[[], AbstractAsyncContextManager[Callable[[Sequence[K]], Awaitable[Sequence[V]]]]],
        *,
        most_keys: int = 256,
        most_batches: int = 1,
        patience: float = math.inf,
    ) -> None:
        self._session = session
        self._most_keys = most_keys
        self._most_batches = most_batches
        self._waiting: list[_Waiter[K, V]] = []
        self._running: dict[int, list[_Waiter[K, V]]] = {}
        self._ticks = Ticks(patience, self._fail_late, lambda: bool(self._waiting or self._running), most_at_once=1)
        self._batches = Flights()
        self._loop = asyncio.get_running_loop()
        self._is_starting = False
        self._has_answered = False  # since the last tick

    def get(self, key: K) -> asyncio.Future[V]:
        """Return a future for the value of one key.

        If the read fails, the future gets a `VaultError`. An error that is no `VaultError` is replaced by a
        `StorageError`.

        Raises:
            ConfigurationError: this is not the event loop on which the batcher was made.
        """
        future: asyncio.Future[V] = own_loop(self._loop).create_future()
        self._waiting.append((key, future, self._ticks.number))
        if not self._ticks.is_running:
            self._ticks.begin()
        if not self._is_starting:
            self._start()
        return future

    async def drain(self) -> None:
        """Wait until no read is running."""
        await self._batches.wait()

    def _start(self) -> None:
        if self._waiting and not self._is_starting and self._batches.under_way < self._most_batches:
            # The task begins in the next round of the event loop. Until it begins, further reads join its batch.
            self._is_starting = True
            self._batches.start(self._run()).add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._is_starting = False
        self._start()

    async def _run(self) -> None:
        async with self._session() as read:
            self._is_starting = False
            while self._waiting:
                batch = self._next_batch()
                self._start()
                self._running[id(batch)] = batch
                try:
                    if await _answer(read, batch):
                        self._has_answered = True
                finally:
                    del self._running[id(batch)]
                # Let callers that got their answers ask again now. Start no task meanwhile, because this task serves
                # them too.
                self._is_starting = True
                try:
                    await asyncio.sleep(0)
                finally:
                    self._is_starting = False

    def _fail_late(self) -> None:
        """Fail the reads that have waited for too long.

        If the store answers, and this process is only too busy to send all reads, the wait of a read that was not sent
        does not count.
        """
        if self._has_answered:
            self._has_answered = False
            self._waiting = [(key, future, began + 1) for key, future, began in self._waiting]
        for reads in (self._waiting, *self._running.values()):
            late = [future for _, future, began in reads if self._ticks.is_over(began)]
            fail(late, StorageError(_TOO_LATE, retryable=True, reason=causes.TIMEOUT))

    def _next_batch(self) -> list[_Waiter[K, V]]:
        """Take the reads of the next batch from the waiting ones.

        If many reads wait, and no other batch is running, take only half of the reads. The other half becomes a second
        batch, so that the database works on one batch while this process hands out the results of the other.
        """
        size = len(self._waiting)
        if size > _UNDIVIDED and self._most_batches > 1 and self._batches.under_way == 1:
            size = (size + 1) // 2
        size = min(size, self._most_keys)
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        return batch


async def _answer(read: Callable[[Sequence[K]], Awaitable[Sequence[V]]], batch: list[_Waiter[K, V]]) -> bool:
    """Read a batch; return whether the store answered."""
    wanted = [(key, future) for key, future, _ in batch if not future.done()]
    if not wanted:
        return False
    try:
        values = await read([key for key, _ in wanted])
        for (_, future), value in zip(wanted, values, strict=True):
            if not future.done():
                future.set_result(value)
    except BaseException as error:
        fail([future for _, future in wanted], error)
        if not isinstance(error, Exception):
            raise
        return False
    return True


_WRONG_LOOP = "this vault was opened on another event loop; open one vault per event loop"


def own_loop(expected: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        ConfigurationError: it is not the expected one, or this is a forked child, in which the parent's event loop does
            not count as running.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise used_across_fork() from None
    if loop is not expected:
        raise ConfigurationError(_WRONG_LOOP, code="wrong_event_loop")
    return loop


def fail(futures: Iterable[asyncio.Future[V]], error: BaseException, *, work: str = "read") -> None:
    """Give each waiting caller its own copy of an error.

    Args:
        futures: the futures for which the callers wait. A future that is done does not get the error.
        error: what went wrong.
        work: what failed, for the message of an error that is not the vault's.
    """
    for future in futures:
        if not future.done():
            future.set_exception(_copy(error, work))


def _copy(error: BaseException, work: str) -> Exception:
    """Return an error for one caller, so that the callers' tracebacks do not mix.

    Any error other than a `VaultError` may hold data of the store, so only the name of its type is kept.
    """
    if isinstance(error, VaultError):
        return copy.copy(error)
    if isinstance(error, Exception):
        return StorageError(f"the {work} failed ({type(error).__name__})", code=f"{work}_failed")
    return StorageError(f"the {work} was abandoned", retryable=True, in_doubt=work == "store")
