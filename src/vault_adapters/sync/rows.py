"""Rows for `SyncVault.import_tokens`: the caller's thread reads them while the vault's own thread stores them.

A lazy iterable often works only in the thread that made it: Django's ORM refuses to run where an event loop runs, and
a connection of SQLite refuses another thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import islice
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_AT_ONCE = 1000
"""Number of rows that the caller's thread reads before it passes them on."""


class CallersRows(Generic[T]):
    """An iterable for the vault's thread, over an iterable of the caller's thread.

    Args:
        rows: the caller's rows; only `serve` reads them.
    """

    def __init__(self, rows: Iterable[T]) -> None:
        self._rows = iter(rows)
        self._wanted: SimpleQueue[Future[list[T]] | None] = SimpleQueue()
        self._awaited: Future[list[T]] | None = None
        self._refusal: Exception | None = None

    @property
    def awaited(self) -> Future[list[T]] | None:
        """The future of the rows that the vault waits for, or None; any thread may read it."""
        return self._awaited

    async def __aiter__(self) -> AsyncIterator[T]:
        """Give the rows; runs on the vault's event loop."""
        while True:
            self._awaited = answer = Future[list[T]]()
            if self._refusal is not None:
                raise self._refusal
            self._wanted.put(answer)
            rows = await asyncio.wrap_future(answer)
            self._awaited = None
            if not rows:
                return
            for row in rows:
                yield row

    def refuse(self, error: Exception) -> None:
        """Raise ``error`` in the import as soon as it wants more rows."""
        self._refusal = error
        if self._awaited is not None:
            give_up(self._awaited, error)

    def serve(self, call: Future[Any]) -> None:
        """Read rows whenever the vault wants some, until ``call`` (the import) ends; runs on the caller's thread."""
        call.add_done_callback(lambda _: self._wanted.put(None))
        while (answer := self._wanted.get()) is not None:
            if not answer.set_running_or_notify_cancel():
                continue
            self._answer(answer)

    def _answer(self, answer: Future[list[T]]) -> None:
        try:
            answer.set_result(list(islice(self._rows, _AT_ONCE)))
        except Exception as error:  # an error of the caller's iterable; `import_tokens` raises it
            give_up(answer, error)


def give_up(answer: Future[list[T]], error: Exception) -> None:
    """Raise ``error`` in the import that waits for these rows, unless the rows have come or the import has ended."""
    with suppress(InvalidStateError):
        answer.set_exception(error)
