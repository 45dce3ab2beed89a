"""Reads rows. While the store does not answer, readers get rows from this process's memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from vault_domain.entities.errors import StorageError
from vault_domain.entities.token import WRONG_ROW, DamagedToken
from vault_domain.ports.readings import Reading
from vault_domain.services.observing import ReadCounts

if TYPE_CHECKING:
    from vault_domain.entities.account import TokenKey
    from vault_domain.entities.token import StoredToken, TokenInfo
    from vault_domain.memory.answers import Answers
    from vault_domain.memory.change_log import Scope
    from vault_domain.memory.row import RememberedRow
    from vault_domain.memory.rows import RememberedRows, Ticket
    from vault_domain.ports.accounts import Accounts
    from vault_domain.ports.tasks import Tasks

_log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE = 0.9
"""Seconds after which a read is answered from memory, if memory has a token that may be handed out.

`Tasks.limited` adds up to a tenth of it, so the caller waits for at most a second.
"""

_QUIET_SECONDS = 60.0
"""Shortest time in seconds between two lines of the log about reads that were answered from memory."""


class RowReader:
    """Reads rows for callers who want to use the token.

    Args:
        accounts: the store's accounts and tokens.
        rows: the remembered rows.
        held: the answers of providers that the database has not stored yet.
        tasks: limits the time of reads, and runs reads that go on without a caller.
        counts: counts the reads.

    Attributes:
        counts: see above.
        has_cache: whether remembered rows may answer without a query even while the store is available.
    """

    def __init__(
        self,
        accounts: Accounts,
        rows: RememberedRows,
        held: Answers,
        tasks: Tasks,
        counts: ReadCounts | None = None,
    ) -> None:
        self._accounts = accounts
        self._rows = rows
        self.has_cache = rows.has_cache
        self._held = held
        self._tasks = tasks
        self.counts = counts or ReadCounts()
        self._answered = 0
        self._overdue = 0  # reads that go on after memory has answered their callers
        self._quiet_until = -math.inf

    def at_hand(self, place: Scope) -> tuple[RememberedRow, float] | None:
        """Return a remembered row that answers without a query, and its age; see `RememberedRows.at_hand`.

        While any provider's answer waits for the database, the result is None, because the answer may replace the row.
        A caller that hands the token out must count the read in `counts`.
        """
        return None if self._held.waiting else self._rows.at_hand(place)

    async def read(self, key: TokenKey, *, fresh: bool = False, patience: float = PATIENCE) -> Reading:
        """Read a row; an access token that waits for the database takes the place of the stored one.

        Args:
            key: the key of the row.
            fresh: never answer from the remembered rows.
            patience: seconds after which memory answers, if it can.

        Raises:
            StorageError: the store failed, and memory has no token that may be handed out.
        """
        cached = self._rows.cached(key) if self.has_cache and not fresh else None
        if cached is not None:
            self.counts.cache += 1
            return self._with_waiting(key, cached)
        has_answer = self._is_held if fresh else self._is_known
        if self._overdue and self._tasks.is_flying(_flight(key)) and has_answer(key):
            return await self._from_memory(key, fresh=fresh)
        failure: StorageError | None = None
        known = None if fresh else self._rows.known(key)
        ticket = self._rows.begin()
        try:
            call = self._accounts.get(key) if known is None else self._accounts.get(key, known.token)
            reading = await self._tasks.limited(patience, call, has_answer, key)
        except TimeoutError:
            pass  # answer below, so that an error there has no ``__context__``
        except StorageError as error:
            failure = error
        else:
            return self._seen(key, known, reading, ticket)
        if failure is None:
            return await self._from_memory(key, fresh=fresh)
        answer = self._without_store(key, fresh=fresh, retryable=failure.retryable)
        if answer is None:
            self.counts.failed += 1
            raise failure
        return self._handed_out(answer)

    async def read_many(self, keys: Sequence[TokenKey]) -> dict[TokenKey, Reading]:
        """Read the rows of several keys.

        If the store fails or does not answer within `PATIENCE`, memory answers, but only if it can answer for every
        key. Each call asks the store first, whatever `read_cache` is.

        Raises:
            StorageError: the store failed, and memory cannot answer for every key.
        """
        name, failure = ("read of many", self._tasks.new_id()), None
        try:
            return await self._tasks.share(name, lambda: self._many_from_store(keys), PATIENCE)
        except TimeoutError:
            pass  # answer below, so that an error there has no ``__context__``
        except StorageError as error:
            failure = error
        readings: dict[TokenKey, Reading] = {}
        for key in keys:
            answer = self._without_store(key, fresh=False, retryable=failure is None or failure.retryable)
            if answer is not None:
                readings[key] = answer
            elif failure is not None:
                self.counts.failed += len(keys)
                raise failure
            else:
                again = self._tasks.share(name, lambda: self._many_from_store(keys))
                return await self._counting(len(keys), again)
        return {key: self._handed_out(reading) for key, reading in readings.items()}

    async def _many_from_store(self, keys: Sequence[TokenKey]) -> dict[TokenKey, Reading]:
        rows, now = await self._accounts.get_many(keys)
        self.counts.database += len(keys)
        answers = _by_question(keys, rows)
        return {key: Reading.of(self._held.over(key, answers.get(key)), now) for key in keys}

    def leave_open(self, keys: Sequence[TokenKey]) -> None:
        """Remember no rows of these keys for a while: somebody else commits a write of them, or rolls it back."""
        self._rows.forget_keys(keys)
        self._rows.doubt(keys)

    def refuse(self, info: TokenInfo) -> None:
        """Never answer with this value from memory again, because a resource rejected it."""
        self._rows.refuse(info)
        self._held.refuse(info)

    async def _from_store(self, key: TokenKey) -> Reading:
        ticket = self._rows.begin()
        return self._seen(key, None, await self._accounts.get(key), ticket)

    def _seen(self, key: TokenKey, known: RememberedRow | None, reading: Reading, ticket: Ticket) -> Reading:
        """Remember the store's answer to a read, and return what the caller gets.

        ``known`` is the remembered row that the read named, or None.
        """
        self.counts.database += 1
        if known is not None and reading.row is known.token:
            self._rows.confirm(known, reading.now, ticket)
        else:
            self._rows.saw(key, reading.row, reading.now, ticket)
        return self._with_waiting(key, reading) if self._held.waiting else reading

    def _with_waiting(self, key: TokenKey, reading: Reading) -> Reading:
        found = reading.answer
        answer = self._held.over(key, found)
        return reading if answer is found else Reading.of(answer, reading.now)

    async def _from_memory(self, key: TokenKey, *, fresh: bool) -> Reading:
        """Answer from memory; a read runs in the background, so that the answer of a slow store is remembered."""
        answer = self._without_store(key, fresh=fresh)
        if answer is None:  # the token expired, or was changed meanwhile
            return await self._counting(1, self._from_store(key))
        with suppress(TimeoutError, StorageError):
            await self._tasks.share(_flight(key), lambda: self._overdue_read(key), 0.0)
        return self._handed_out(answer)

    async def _overdue_read(self, key: TokenKey) -> Reading:
        self._overdue += 1
        try:
            return await self._from_store(key)
        finally:
            self._overdue -= 1

    async def _counting(self, reads: int, call: Awaitable[T]) -> T:
        """Return the result of a call to the store; if the call fails, count its ``reads`` as failed.

        Callers use this only when memory cannot answer.
        """
        try:
            return await call
        except StorageError:
            self.counts.failed += reads
            raise

    def _is_known(self, key: TokenKey) -> bool:
        """Return whether `_without_store` has an answer, as far as that is known at little cost."""
        return self._rows.may_serve(key) or self._is_held(key)

    def _is_held(self, key: TokenKey) -> bool:
        """Return whether `_without_store` has an answer that is as good as a fresh one; see `Answers`."""
        return self._held.alone(key) is not None

    def _without_store(self, key: TokenKey, *, fresh: bool, retryable: bool = True) -> Reading | None:
        """Return the reading that may be handed out while the store does not answer, or None."""
        waiting = self._held.alone(key)
        if waiting is not None:
            return waiting
        if fresh or not retryable or key.account in self._held:
            return None  # a waiting answer replaces the remembered row, even if the answer may not be handed out
        return self._rows.stale(key)

    def _handed_out(self, answer: Reading) -> Reading:
        self.counts.outage += 1
        self._answered += answer.is_stale
        now = self._tasks.monotonic()
        if self._answered and now >= self._quiet_until:
            _log.warning(
                "the database does not answer in time; reads answered from memory since the last such line: %d",
                self._answered,
            )
            self._answered, self._quiet_until = 0, now + _QUIET_SECONDS
        return answer


def _flight(key: TokenKey) -> tuple[str, TokenKey]:
    return "overdue read", key


def _by_question(
    keys: Sequence[TokenKey], rows: Sequence[StoredToken | DamagedToken]
) -> dict[TokenKey, StoredToken | DamagedToken]:
    """Return the rows by requested key.

    A row whose key was not requested has taken the place of a requested row, and nobody can tell which requested row is
    missing. So each requested key without a row gets an error instead of counting as not stored. If every requested key
    has a row nevertheless, all requested keys get an error.
    """
    answers = {row.key: row for row in rows}
    if answers.keys() <= set(keys):
        return answers
    unanswered = [key for key in keys if key not in answers] or keys
    return answers | {key: DamagedToken(key, WRONG_ROW) for key in unanswered}
