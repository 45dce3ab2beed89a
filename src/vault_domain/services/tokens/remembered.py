"""Remembers the rows that this process has read or written last, until a change of a row becomes known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar
from uuid import UUID

from attrs import define

from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.errors import GenerationConflictError
from vault_domain.entities.token import NO_VALUE, StoredToken, TokenInfo
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.change_watch import ChangeWatch
from vault_domain.ports.clock import Clock
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_repository import Reading
from vault_domain.rules.remembering import MemoryPolicy, may_answer, may_be_remembered, time_left
from vault_domain.services.tokens.change_log import EVERYTHING, ChangeLog, Scope, is_value, scope_of_key

T = TypeVar("T")

_MOST_AT_ONCE = 256
"""Largest number of keys of a write whose rows are remembered. A larger write would push out the rows in use."""

_MOST_REFUSED = 10_000
"""Largest number of rejected values to remember."""


@define
class _Row:
    token: StoredToken
    store_time: datetime
    since: float  # monotonic time from before the read or write that returned the row
    left: float
    epoch: int
    mark: str | None
    was_used: bool = False

    def confirm(self, store_time: datetime, ticket: Ticket) -> None:
        """Note that the store has returned the same row again."""
        self.store_time, self.since, self.epoch = store_time, ticket.since, ticket.epoch
        self.left, self.was_used = time_left(self.token, store_time), False


class Ticket(NamedTuple):
    """The moment at which a read or a write began.

    It is a tuple, because each read makes a ticket, and another object takes twice the time to make.
    """

    changes: int
    """Number of the last change that this process knew of by then."""

    since: float
    """The monotonic time in seconds."""

    epoch: int
    """Number of calls of `RememberedRows.anything_changed` by then."""


class RememberedRows:
    """The rows that this process has seen last: sealed, as the database holds them.

    A result is remembered only if no change of its row became known since its read began. So a read that a write
    overtakes never brings the old row back.

    Args:
        policy: the limits.
        tasks: tells the monotonic time.
        is_at_hand: given a tenant and a data key's id, returns whether this data key can be used without I/O.
        clock: tells the store's time; None: compute it from the store's time when the store last returned the row.
    """

    def __init__(
        self,
        policy: MemoryPolicy,
        tasks: Tasks,
        is_at_hand: Callable[[str, bytes], bool] = lambda _tenant_id, _data_key_id: True,
        clock: Clock | None = None,
    ) -> None:
        self._size = policy.size
        self._cache_seconds = policy.read_cache.total_seconds()
        self._unwatched_seconds = min(self._cache_seconds, policy.unwatched.total_seconds())
        self._stale_seconds = policy.serve_stale.total_seconds()
        self._monotonic = tasks.monotonic
        self._is_at_hand = is_at_hand
        self._clock = clock
        self._rows: OrderedDict[TokenKey, _Row] = OrderedDict()
        self._marked: dict[str, set[TokenKey]] = {}
        self._log = ChangeLog(tasks.monotonic)
        self._refused: OrderedDict[UUID, None] = OrderedDict()
        self._epoch = 0
        self._watch: ChangeWatch | None = None

    def __len__(self) -> int:
        """Return how many rows are remembered."""
        return len(self._rows)

    def watch_by(self, watch: ChangeWatch | None) -> None:
        """Rely on a watch for the changes of other processes; None: there is no watch."""
        self._watch = watch
        self.anything_changed()

    # What this process reads and writes

    def begin(self) -> Ticket:
        """Return a ticket for a read or write that begins now."""
        return Ticket(self._log.last, self._monotonic(), self._epoch)

    def saw(self, key: TokenKey, row: StoredToken | None, store_time: datetime, ticket: Ticket) -> None:
        """Remember the row that the store returned for a read or a write.

        Args:
            key: the key that was asked for.
            row: the stored row; None if nothing usable is stored, which forgets the remembered row.
            store_time: the store's time of the answer.
            ticket: the result of `begin` before the read or write.
        """
        before = self._rows.get(key)
        if before is not None and before.since > ticket.since:
            return  # another read began later and has ended
        mark = None if self._watch is None else self._watch.mark(key)
        if ticket.changes != self._log.last and self._log.has_changed(key, mark, row, ticket.changes):
            return
        if row is None or not may_be_remembered(key, row) or self._is_barred(key, row):
            self._drop(key)
            return
        if before is not None and before.mark == mark and before.token == row:
            # Keep the object, because new ones for each read would let the garbage collector visit all objects often.
            before.confirm(store_time, ticket)
        else:
            self._rows[key] = _Row(row, store_time, ticket.since, time_left(row, store_time), ticket.epoch, mark)
        if before is not None:
            self._rows.move_to_end(key)
        if mark is not None:
            self._marked.setdefault(mark, set()).add(key)
        while len(self._rows) > self._size:
            self._make_room()

    def forget(self, scope: Scope) -> None:
        """Forget rows, because they have changed; running reads of these rows are not remembered either."""
        self._log.note(scope)
        for key in [key for key in self._rows if scope_of_key(key)[: len(scope)] == scope]:
            self._drop(key)

    def forget_keys(self, keys: Sequence[TokenKey]) -> None:
        """Forget the rows of these keys; see `forget`."""
        if len(keys) > _MOST_AT_ONCE:
            self._log.note(EVERYTHING)
            keys = list(self._rows.keys() & set(keys))
        else:
            for key in keys:
                self._log.note(scope_of_key(key))
        for key in keys:
            self._drop(key)

    def learn(self, key: TokenKey, tokens: Mapping[TokenKind, TokenInfo] | None) -> None:
        """Forget a row if its account's metadata shows that its value or status has changed or that it was deleted.

        Args:
            key: the row's key.
            tokens: the account's tokens, by kind; None if nothing is stored.
        """
        row, info = self._rows.get(key), None if tokens is None else tokens.get(key.kind)
        if row is None:
            return
        if info is None or info.value_id != row.token.info.value_id or info.status is not row.token.info.status:
            self._drop(key)

    def refuse(self, info: TokenInfo) -> None:
        """Never hand out this value from memory again, because a resource rejected it."""
        row = self._rows.get(info.key)
        if row is not None and info.value_id in (row.token.info.value_id, NO_VALUE):
            self._drop(info.key)
        self._refused[info.value_id] = None
        if len(self._refused) > _MOST_REFUSED:
            self._refused.popitem(last=False)

    async def write(
        self,
        work: Awaitable[Change[T]],
        *,
        keys: Sequence[TokenKey] = (),
        scopes: Sequence[Scope] = (),
        stored: Callable[[T], Iterable[StoredToken]] = lambda _: (),
    ) -> Change[T]:
        """Do a write of this process: forget the rows that it may change, before and after it, whatever its result.

        Args:
            work: the write.
            keys: keys whose rows it may change.
            scopes: further rows that it may change.
            stored: returns the rows that the write stored, given its result.
        """
        self._forget_all(keys, scopes)
        ticket = self.begin()
        try:
            change = await work
        except BaseException as error:
            self._forget_all(keys, scopes)
            if not isinstance(error, (GenerationConflictError, DataKeyInactiveError)):
                # The result is unknown, also if the caller was cancelled, because the write goes on.
                self._log.doubt([*map(scope_of_key, keys), *scopes])
            raise
        rows = stored(change.result) if len(keys) <= _MOST_AT_ONCE else ()
        current = [row for row in rows if not self._has_changed(row, ticket)]
        self._forget_all(keys, scopes)
        after = Ticket(self._log.last, ticket.since, ticket.epoch)
        for row in current:
            self.saw(row.key, row, row.info.updated_at, after)
        return change

    # What other processes change

    def row_changed(self, mark: str, value: str) -> None:
        """See `ChangeHearer`."""
        self._log.note_mark(mark, value)
        for key in list(self._marked.get(mark, ())):
            if not is_value(self._rows[key].token, value):
                self._drop(key)

    def tenants_changed(self, concerns: Callable[[str], bool]) -> None:
        """See `ChangeHearer`."""
        self._log.note(EVERYTHING)
        for key in [key for key in self._rows if concerns(key.tenant_id)]:
            self._drop(key)

    def anything_changed(self) -> None:
        """See `ChangeHearer`. The rows stay for reads in an outage, because none of them is known to be replaced."""
        self._epoch += 1

    # Answers

    def cached(self, key: TokenKey) -> Reading | None:
        """Return what a reader gets without a query; None: ask the store."""
        row = self._rows.get(key) if self._cache_seconds else None
        if row is None:
            return None
        is_told = self._watch is not None and self._watch.is_current()
        if row.epoch != self._epoch:
            return None
        now = self._answer(key, row, self._cache_seconds if is_told else self._unwatched_seconds)
        return None if now is None else Reading(row.token, now)

    def stale(self, key: TokenKey) -> Reading | None:
        """Return what a reader gets if the store does not answer; None if no remembered row may be used now."""
        row = self._rows.get(key)
        now = None if row is None else self._answer(key, row, self._stale_seconds)
        return None if row is None or now is None else Reading(row.token, now, is_stale=True)

    def may_serve(self, key: TokenKey) -> bool:
        """Return whether `stale` has an answer; this costs less, because it does not compute the store's time."""
        row = self._rows.get(key)
        return row is not None and self._is_fit(key, row, self._monotonic() - row.since, self._stale_seconds)

    def _answer(self, key: TokenKey, row: _Row, longest: float) -> datetime | None:
        """Return the store's time if a row may be handed out now, else None."""
        age = self._monotonic() - row.since
        if self._clock is None:
            now = row.store_time + timedelta(seconds=age)
        else:
            now = self._clock.now()
            age = max(age, (now - row.store_time).total_seconds())
        if not self._is_fit(key, row, age, longest):
            return None
        row.was_used = True
        return now

    def _is_fit(self, key: TokenKey, row: _Row, age: float, longest: float) -> bool:
        if not may_answer(age, longest, row.left):
            return False
        return self._is_at_hand(key.tenant_id, row.token.sealed.data_key_id)

    def _make_room(self) -> None:
        """Forget the first row, or move it to the end if it was used since it was last put there."""
        key, row = next(iter(self._rows.items()))
        if row.was_used:
            row.was_used = False
            self._rows.move_to_end(key)
        else:
            self._drop(key)

    def _drop(self, key: TokenKey) -> None:
        row = self._rows.pop(key, None)
        if row is not None and row.mark is not None:
            alike = self._marked[row.mark]
            alike.discard(key)
            if not alike:
                del self._marked[row.mark]

    def _forget_all(self, keys: Sequence[TokenKey], scopes: Sequence[Scope]) -> None:
        self.forget_keys(keys)
        for scope in scopes:
            self.forget(scope)

    def _has_changed(self, row: StoredToken, ticket: Ticket) -> bool:
        mark = None if self._watch is None else self._watch.mark(row.key)
        return self._log.has_changed(row.key, mark, row, ticket.changes)

    def _is_barred(self, key: TokenKey, row: StoredToken) -> bool:
        """Return whether a row must not be remembered: its value was rejected, or a write of it is in doubt."""
        return bool(self._refused and row.info.value_id in self._refused) or self._log.is_in_doubt(key)
