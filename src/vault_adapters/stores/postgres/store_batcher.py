"""Batches the storing of single values: values that wait at the same moment go in one statement.

Here, a store is the storing of one value, not a database.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from attrs import define

from vault_adapters.runtime.flights import Flights
from vault_adapters.stores.batching import fail, own_loop
from vault_adapters.stores.postgres.rows import key_columns
from vault_domain.entities.errors import StorageError
from vault_domain.entities.token import TokenWrite

V = TypeVar("V")

_MOST_WRITES = 256
"""Largest number of stores in one statement."""

_TOO_LATE = "the value waited too long for earlier ones; nothing was written"

_Place = tuple[str, ...]
"""A key, as the values of its columns."""


_Group = tuple[str | None, bool, str]
"""What the writes of one statement have in common: the actor, whether they are refreshes, and the kind of token."""


@define(eq=False)
class _Waiter(Generic[V]):
    place: _Place
    write: TokenWrite
    actor: str | None
    future: asyncio.Future[V]
    since: float

    @property
    def group(self) -> _Group:
        return self.actor, self.write.refreshed, self.write.key.kind.value


class StoreBatcher(Generic[V]):
    """Collects single stores, each of which succeeds or fails by itself.

    - While no store runs, a store goes alone, in its caller's own call. While one runs, further stores wait for a task
      that sends them together, on another connection.
    - The stores of one key go one after the other, in the order of the calls.
    - All stores of a batch have the same actor, and either all of them are refreshes or none is.
    - The stores of a batch have different keys, but the same kind of token. So a batch has at most one value for each
      account, and sets the account's due time as a single store does.
    - If the server refuses a batch because of a value, a row or a lock, nothing of it was stored, and each of its
      stores goes alone. After any other error, the outcome may be unknown, or no time may be left for another try. So
      nothing is repeated, and each caller gets a copy of the error.
    - Cancelling a caller cancels no store.

    Args:
        alone: runs one store.
        together: runs stores of distinct keys in one transaction; returns what ``alone`` would return for each, or None
            if the server refused the batch because of a value, a row or a lock, so that nothing was stored.
        most_batches: largest number of concurrent batches.
        patience: longest time in seconds to wait for a batch.
    """

    def __init__(
        self,
        alone: Callable[[TokenWrite, str | None], Awaitable[V]],
        together: Callable[[Sequence[TokenWrite], str | None], Awaitable[Sequence[V] | None]],
        *,
        most_batches: int,
        patience: float,
    ) -> None:
        self._alone = alone
        self._together = together
        self._most_batches = most_batches
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._behind: dict[_Place, deque[_Waiter[V]]] = {}
        """For each key whose store waits or runs: the further stores of this key."""
        self._ready: dict[_Group, list[_Waiter[V]]] = {}
        """The stores that wait for a batch, at most one of each key, by group. The first group goes next."""
        self._is_starting = False
        self._batches = Flights()
        self._apart = Flights()
        self._emptied: asyncio.Future[None] | None = None

    async def store(self, write: TokenWrite, actor: str | None) -> V:
        """Store one value; return what ``alone`` returns.

        Raises:
            ConfigurationError: this is not the event loop on which the batcher was made.
            VaultError: the store failed. In a batch, an error that is no `VaultError` becomes a `StorageError`.
        """
        loop = own_loop(self._loop)
        place = key_columns(write.key)
        if not self._behind:
            self._behind[place] = deque()
            try:
                return await self._alone(write, actor)
            finally:
                self._release(place)
        waiter: _Waiter[V] = _Waiter(place, write, actor, loop.create_future(), loop.time())
        behind = self._behind.get(place)
        if behind is None:
            self._behind[place] = deque()
            self._line_up(waiter)
        else:
            behind.append(waiter)
        return await waiter.future

    async def drain(self) -> None:
        """Wait until no store waits or runs."""
        while self._behind:
            if self._emptied is None:
                self._emptied = self._loop.create_future()
            await asyncio.wait([self._emptied])
        await self._batches.wait()

    def _line_up(self, waiter: _Waiter[V]) -> None:
        self._ready.setdefault(waiter.group, []).append(waiter)
        self._start()

    def _start(self) -> None:
        if self._ready and not self._is_starting and self._batches.under_way < self._most_batches:
            # The task begins in the next tick. Until it begins, further stores may join its batch.
            self._is_starting = True
            self._batches.start(self._run()).add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._is_starting = False
        self._start()

    async def _run(self) -> None:
        self._is_starting = False
        batch = self._take()
        self._start()
        if len(batch) > 1:
            await self._send(batch)
        elif batch:
            await self._send_alone(batch[0])

    def _take(self) -> list[_Waiter[V]]:
        group = next(iter(self._ready))
        waiting = self._ready.pop(group)
        if len(waiting) > _MOST_WRITES:
            self._ready[group] = waiting[_MOST_WRITES:]  # behind the other groups
        oldest = self._loop.time() - self._patience
        batch: list[_Waiter[V]] = []
        late: list[_Waiter[V]] = []
        for waiter in waiting[:_MOST_WRITES]:
            (late if waiter.since < oldest else batch).append(waiter)
        self._fail(late, StorageError(_TOO_LATE, retryable=True))
        return batch

    async def _send(self, batch: Sequence[_Waiter[V]]) -> None:
        try:
            values = await self._together([waiter.write for waiter in batch], batch[0].actor)
        except BaseException as error:
            self._fail(batch, error)
            if not isinstance(error, Exception):
                raise
            return
        if values is None:
            for waiter in batch:
                self._apart.start(self._send_alone(waiter))
            return
        for waiter, value in zip(batch, values, strict=True):
            self._answer(waiter, value)

    async def _send_alone(self, waiter: _Waiter[V]) -> None:
        try:
            value = await self._alone(waiter.write, waiter.actor)
        except BaseException as error:
            self._fail([waiter], error)
            if not isinstance(error, Exception):
                raise
        else:
            self._answer(waiter, value)

    def _answer(self, waiter: _Waiter[V], value: V) -> None:
        if not waiter.future.done():
            waiter.future.set_result(value)
        self._release(waiter.place)

    def _fail(self, waiters: Sequence[_Waiter[V]], error: BaseException) -> None:
        fail((waiter.future for waiter in waiters), error, work="store")
        for waiter in waiters:
            self._release(waiter.place)

    def _release(self, place: _Place) -> None:
        """Let the next store of a key take its turn."""
        behind = self._behind[place]
        if behind:
            self._line_up(behind.popleft())
            return
        del self._behind[place]
        if not self._behind and self._emptied is not None:
            self._emptied.set_result(None)
            self._emptied = None
