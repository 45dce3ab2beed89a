"""Remembers the rows that this process has read or written last, until a change of a row becomes known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from uuid import UUID

from vault_domain.entities.errors import GenerationConflictError
from vault_domain.entities.token import NO_VALUE
from vault_domain.memory.change_log import EVERYTHING, ChangeLog, is_value, scope_of_key
from vault_domain.memory.row import RememberedRow
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.ports.readings import Reading
from vault_domain.rules.remembering import may_answer, may_be_remembered

if TYPE_CHECKING:
    from vault_domain.entities.account import TokenKey, TokenKind
    from vault_domain.entities.token import StoredToken, TokenInfo
    from vault_domain.memory.change_log import Scope
    from vault_domain.ports.change import Change
    from vault_domain.ports.change_watch import ChangeWatch
    from vault_domain.ports.clock import Clock
    from vault_domain.ports.tasks import Tasks
    from vault_domain.rules.remembering import MemoryPolicy

T = TypeVar("T")

_MOST_AT_ONCE = 256
"""If a write has more keys, its rows are not remembered, because they would push out the rows in use."""

_MOST_REFUSED = 10_000
"""Largest number of rejected values to remember."""


class Ticket(NamedTuple):
    """The moment at which a read or a write began.

    It is a tuple, because each read makes a ticket, and an object that is no tuple takes twice the time to make.
    """

    changes: int
    """The last number that the `ChangeLog` had given to a change by then."""

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
        clock: tells the store's time; None: it is computed as the row's ``store_time`` plus the row's age.
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
        self.has_cache = self._cache_seconds > 0
        self._unwatched_seconds = min(self._cache_seconds, policy.unwatched.total_seconds())
        self._stale_seconds = policy.serve_stale.total_seconds()
        self._monotonic = tasks.monotonic
        self._is_at_hand = is_at_hand
        self._clock = clock
        self._rows: OrderedDict[Scope, RememberedRow] = OrderedDict()  # a tuple is looked up faster than a TokenKey
        self._marked: dict[str, set[Scope]] = {}
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
            row: the stored row; None if nothing usable is stored. The remembered row is then forgotten.
            store_time: the store's time of the answer.
            ticket: the result of `begin` before the read or write.
        """
        place = scope_of_key(key)
        before = self._rows.get(place)
        if before is not None and before.since > ticket.since:
            return  # another read began later and has ended
        mark = None if self._watch is None else self._watch.mark(key)
        if ticket.changes != self._log.last and self._log.has_changed(key, mark, row, ticket.changes):
            return
        if row is None or not may_be_remembered(key, row) or self._is_barred(key, row):
            self._drop(place)
            return
        if before is not None and before.mark == mark and _is_same(before.token, row):
            # Keep the object, because new ones for each read would let the garbage collector visit all objects often.
            before.confirm(store_time, ticket.since, ticket.epoch)
        else:
            self._rows[place] = RememberedRow(key, place, row, store_time, ticket.since, ticket.epoch, mark)
        if before is not None:
            self._rows.move_to_end(place)
        if mark is not None:
            self._marked.setdefault(mark, set()).add(place)
        while len(self._rows) > self._size:
            self._make_room()

    def confirm(self, row: RememberedRow, store_time: datetime, ticket: Ticket) -> None:
        """Remember that the store still holds a row, as `saw` would if it were called with the same row.

        If the row was forgotten meanwhile, it stays forgotten. The row needs no other check for changes, because
        a known change, a rejection or a write in doubt makes this process forget the row.

        Args:
            row: a result of `known`, from before the read.
            store_time: the store's time of the answer.
            ticket: the result of `begin` before the read.
        """
        if self._rows.get(row.place) is not row or row.since > ticket.since:
            return
        if (row.mark is None) == (self._watch is None):
            row.confirm(store_time, ticket.since, ticket.epoch)
            self._rows.move_to_end(row.place)
        else:  # a watch has begun or ended since
            self.saw(row.key, row.token, store_time, ticket)

    def forget(self, scope: Scope) -> None:
        """Forget rows, because they have changed; running reads of these rows are not remembered either."""
        self._log.note(scope)
        for place in [place for place in self._rows if place[: len(scope)] == scope]:
            self._drop(place)

    def forget_keys(self, keys: Sequence[TokenKey]) -> None:
        """Forget the rows of these keys; see `forget`."""
        # The scopes are not kept: ten thousand tuples, while a write runs, would let the garbage collector visit all
        # objects once more.
        for scope in map(scope_of_key, keys) if len(keys) <= _MOST_AT_ONCE else [EVERYTHING]:
            self._log.note(scope)
        for place in map(scope_of_key, keys) if self._rows else ():
            self._drop(place)

    def doubt(self, keys: Sequence[TokenKey]) -> None:
        """Remember no rows of these keys for a while, because a write of them goes on, whose end nobody learns."""
        self._log.doubt([*map(scope_of_key, keys)])

    def learn(self, key: TokenKey, tokens: Mapping[TokenKind, TokenInfo] | None) -> None:
        """Forget a row if its account's metadata shows that its value or status has changed or that it was deleted.

        Args:
            key: the row's key.
            tokens: the account's tokens, by kind; None if nothing is stored.
        """
        place = scope_of_key(key)
        row, info = self._rows.get(place), None if tokens is None else tokens.get(key.kind)
        if row is None:
            return
        if info is None or info.value_id != row.token.info.value_id or info.status is not row.token.info.status:
            self._drop(place)

    def refuse(self, info: TokenInfo) -> None:
        """Never hand out this value from memory again, because a resource rejected it."""
        place = scope_of_key(info.key)
        row = self._rows.get(place)
        if row is not None and info.value_id in (row.token.info.value_id, NO_VALUE):
            self._drop(place)
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
        begun: Callable[[], Ticket | None] = lambda: None,
    ) -> Change[T]:
        """Await a write of this process, and remember the rows that it stored.

        The rows that the write may change are forgotten before it begins, and again when it has ended or failed.

        Args:
            work: the write.
            keys: keys whose rows the write may change. The write may add to them if it forgets their rows itself.
            scopes: further rows that the write may change.
            stored: returns the rows that the write stored, given its result.
            begun: returns the result of `begin` from after the write forgot rows itself; None: it did not.
        """
        self._forget_all(keys, scopes)
        ticket = self.begin()
        try:
            change = await work
        except BaseException as error:
            self._forget_all(keys, scopes)
            if not isinstance(error, (GenerationConflictError, DataKeyInactiveError)):
                # Nobody knows whether the write took effect. If only the caller was cancelled, the write goes on.
                self._log.doubt([*map(scope_of_key, keys), *scopes])
            raise
        ticket = begun() or ticket
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
        for place in list(self._marked.get(mark, ())):
            if not is_value(self._rows[place].token, value):
                self._drop(place)

    def tenants_changed(self, concerns: Callable[[str], bool]) -> None:
        """See `ChangeHearer`."""
        self._log.note(EVERYTHING)
        for place in [place for place in self._rows if concerns(place[0])]:
            self._drop(place)

    def anything_changed(self) -> None:
        """See `ChangeHearer`. The rows stay for reads in an outage, because none of them is known to be replaced."""
        self._epoch += 1

    # Answers

    def at_hand(self, place: Scope) -> tuple[RememberedRow, float] | None:
        """Return the row that answers a reader without a query, and its age in seconds; None: ask the store.

        The row is returned even if its data key is not in memory.

        Args:
            place: the `scope_of_key` of the reader's key.
        """
        if not self._cache_seconds:
            return None
        # Ask the watch before the row is read, because a call of `is_current` may report changes.
        is_told = self._watch is not None and self._watch.is_current()
        row = self._rows.get(place)
        if row is None or row.epoch != self._epoch:
            return None
        age = self._monotonic() - row.since if self._clock is None else self._age(row)
        if not may_answer(age, self._cache_seconds if is_told else self._unwatched_seconds, row.left):
            return None
        row.was_used = True
        return row, age

    def cached(self, key: TokenKey) -> Reading | None:
        """Return what a reader gets without a query; None: ask the store."""
        found = self.at_hand(scope_of_key(key))
        if found is None or not self._is_openable(found[0]):
            return None
        row, age = found
        return Reading(row.token, row.time_at(age))

    def stale(self, key: TokenKey) -> Reading | None:
        """Return what a reader gets if the store does not answer; None if no remembered row may be used now."""
        row = self._rows.get(scope_of_key(key))
        if row is None:
            return None
        age = self._age(row)
        if not may_answer(age, self._stale_seconds, row.left) or not self._is_openable(row):
            return None
        row.was_used = True
        return Reading(row.token, row.time_at(age), is_stale=True)

    def known(self, key: TokenKey) -> RememberedRow | None:
        """Return the remembered row if the store can tell whether it has changed, else None."""
        row = self._rows.get(scope_of_key(key))
        return None if row is None or row.token.version is None else row

    def may_serve(self, key: TokenKey) -> bool:
        """Return whether `stale` would have an answer if the monotonic time alone gave the row's age.

        This costs less than `stale`, because `stale` also asks the clock. If the row is older by the clock, `stale` may
        still return None.
        """
        row = self._rows.get(scope_of_key(key))
        if row is None or not may_answer(self._monotonic() - row.since, self._stale_seconds, row.left):
            return False
        return self._is_openable(row)

    def _age(self, row: RememberedRow) -> float:
        """Return the seconds since the store confirmed a row."""
        age = self._monotonic() - row.since
        if self._clock is None:
            return age
        return max(age, (self._clock.now() - row.store_time).total_seconds())

    def _is_openable(self, row: RememberedRow) -> bool:
        return self._is_at_hand(row.key.tenant_id, row.token.sealed.data_key_id)

    def _make_room(self) -> None:
        """Forget the first row; if it was used since it was last moved to the end, move it to the end instead."""
        place, row = next(iter(self._rows.items()))
        if row.was_used:
            row.was_used = False
            self._rows.move_to_end(place)
        else:
            self._drop(place)

    def _drop(self, place: Scope) -> None:
        row = self._rows.pop(place, None)
        if row is not None and row.mark is not None:
            alike = self._marked[row.mark]
            alike.discard(place)
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


def _is_same(before: StoredToken, row: StoredToken) -> bool:
    """Return whether the remembered row and the row that was read are equal and have the same version."""
    return before == row and before.version == row.version
