"""Work for the caller's thread, which waits for a call while the vault's own thread runs it.

Some things work only in the thread that made them: Django's ORM refuses to run where an event loop runs, and a
connection of SQLite refuses another thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from itertools import islice
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_AT_ONCE = 1000
"""Number of rows that the caller's thread reads before it passes them on."""


class CallersThread:
    """Calls functions in the caller's thread for one call of the vault."""

    def __init__(self) -> None:
        self._wanted: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._awaited: Future[Any] | None = None
        self._refusal: Exception | None = None

    @property
    def awaited(self) -> Future[Any] | None:
        """The future of the result that the vault waits for, or None; any thread may read it."""
        return self._awaited

    async def run(self, work: Callable[[], T]) -> T:
        """Call a function in the caller's thread; return its result. Runs on the vault's event loop."""
        self._awaited = answer = Future[T]()
        if self._refusal is not None:
            raise self._refusal
        self._wanted.put((answer, work))
        if self._refusal is not None:  # the thread has gone meanwhile
            give_up(answer, self._refusal)
        result = await asyncio.wrap_future(answer)
        self._awaited = None
        return result

    def refuse(self, error: Exception) -> None:
        """Raise ``error`` in `run`, now and from now on."""
        self._refusal = error
        if self._awaited is not None:
            give_up(self._awaited, error)

    def serve(self, call: Future[Any]) -> None:
        """Call functions whenever the vault wants it, until ``call`` ends; runs on the caller's thread."""
        call.add_done_callback(lambda _: self._wanted.put(None))
        try:
            while (wanted := self._wanted.get()) is not None:
                answer, work = wanted
                if answer.set_running_or_notify_cancel():
                    self._answer(answer, work)
        except BaseException:  # an interrupt, after which this thread calls nothing any more
            self.refuse(RuntimeError("the caller's thread was interrupted"))
            raise

    def _answer(self, answer: Future[T], work: Callable[[], T]) -> None:
        try:
            answer.set_result(work())
        except Exception as error:  # the vault's call raises it
            give_up(answer, error)


class CallersRows(CallersThread, Generic[T]):
    """An iterable for the vault's thread, over an iterable of the caller's thread.

    Args:
        rows: the caller's rows; only `serve` reads them.
    """

    def __init__(self, rows: Iterable[T]) -> None:
        super().__init__()
        self._rows = iter(rows)

    async def __aiter__(self) -> AsyncIterator[T]:
        """Give the rows; runs on the vault's event loop."""
        while rows := await self.run(partial(self._next, _AT_ONCE)):
            for row in rows:
                yield row

    def _next(self, count: int) -> list[T]:
        return list(islice(self._rows, count))


def give_up(answer: Future[Any], error: Exception) -> None:
    """Raise ``error`` in the call that waits for this answer, unless the answer has come or the call has ended."""
    with suppress(InvalidStateError):
        answer.set_exception(error)
