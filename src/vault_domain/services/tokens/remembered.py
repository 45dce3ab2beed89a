"""Remembers the rows that this process has seen last, until it learns that they have changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from attrs import define

from vault_domain.entities.account import Account, TokenKey, stored_key
from vault_domain.entities.errors import GenerationConflictError
from vault_domain.entities.token import NO_VALUE, StoredToken, TokenInfo
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.clock import Clock
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_repository import Reading
from vault_domain.rules.remembering import MemoryPolicy, may_answer, may_be_remembered

T = TypeVar("T")

Scope = tuple[str, ...]
"""Names the rows that a write may change: tenant, provider, identifier and kind, or the first few of them."""

EVERYTHING: Scope = ()

_MOST_AT_ONCE = 256
"""Largest number of rows of one write that are remembered. A bulk write would push out the rows that are in use."""

_MOST_CHANGES = 10_000
"""Largest number of changes to keep. Beyond it, no read that is running now is remembered."""

_DOUBT_SECONDS = 60.0
"""Time after a write with an unknown result during which its rows are not remembered; it may still be committed."""

_MOST_REFUSED = 10_000


def scope_of_key(key: TokenKey) -> Scope:
    """Return the scope of one row."""
    return (key.tenant_id, key.provider, key.identifier or "", key.kind.value)


def scope_of_account(account: Account) -> Scope:
    """Return the scope of an account's rows."""
    return (account.tenant_id, account.provider, account.identifier or "")


@define
class _Row:
    token: StoredToken
    store_time: datetime
    since: float  # monotonic time from before the read or write that returned the row


@define
class Ticket:
    """The moment at which a read or a write began.

    Attributes:
        changes: number of changes that this process knew of by then.
        since: the monotonic time.
    """

    changes: int
    since: float


class RememberedRows:
    """The rows that this process has seen last: sealed, as the database holds them.

    A result is remembered only if no change of its row became known since its read began. So a read that a write
    overtakes never brings the old row back.

    Args:
        policy: the limits.
        tasks: tells the monotonic time.
        is_at_hand: returns whether a data key (of a tenant, by id) decrypts without asking the store or a key service.
        clock: replaces the store's time; None: the store's time is computed from the last time that it told.
    """

    def __init__(
        self,
        policy: MemoryPolicy,
        tasks: Tasks,
        is_at_hand: Callable[[str, bytes], bool] = lambda _tenant_id, _data_key_id: True,
        clock: Clock | None = None,
    ) -> None:
        self._policy = policy
        self._tasks = tasks
        self._is_at_hand = is_at_hand
        self._clock = clock
        self._rows: OrderedDict[TokenKey, _Row] = OrderedDict()
        self._changes = 0
        self._all_changed = 0
        self._changed: dict[Scope, int] = {}
        self._in_doubt: dict[Scope, float] = {}
        self._refused: OrderedDict[UUID, None] = OrderedDict()

    def __len__(self) -> int:
        """Return how many rows are remembered."""
        return len(self._rows)

    def begin(self) -> Ticket:
        """Return a ticket for a read or write that begins now."""
        return Ticket(self._changes, self._tasks.monotonic())

    def saw(self, key: TokenKey, row: StoredToken | None, store_time: datetime, ticket: Ticket) -> None:
        """Remember what the store answered to a read of a key, or to a write.

        Args:
            key: the key that was asked for.
            row: the stored row; None if nothing usable is stored, which forgets the remembered row.
            store_time: the store's time of the answer.
            ticket: from before the read or write.
        """
        before = self._rows.get(key)
        if before is not None and before.since > ticket.since:
            return  # another read began later and has ended
        if ticket.changes != self._changes and self._has_changed(key, ticket):
            return
        if row is None or not may_be_remembered(key, row) or self._is_barred(key, row):
            self._rows.pop(key, None)
            return
        self._rows[key] = _Row(row, store_time, ticket.since)
        self._rows.move_to_end(key)
        if len(self._rows) > self._policy.size:
            self._rows.popitem(last=False)

    def stale(self, key: TokenKey) -> Reading | None:
        """Return what a reader gets if the store does not answer; None if nothing is known that may be used now."""
        return self._answer(key, self._policy.serve_stale)

    def forget(self, scope: Scope) -> None:
        """Forget rows, because they have changed; the results of reads that are running now are not remembered."""
        self._changes += 1
        if len(self._changed) >= _MOST_CHANGES:
            self._all_changed = self._changes
            self._changed.clear()
        self._changed[scope] = self._changes
        if len(scope) == len(_SCOPE_FIELDS):
            self._rows.pop(_key_of(scope), None)
        else:
            for key in [key for key in self._rows if scope_of_key(key)[: len(scope)] == scope]:
                del self._rows[key]

    def forget_keys(self, keys: Sequence[TokenKey]) -> None:
        """Forget the rows of these keys; see `forget`."""
        if len(keys) <= _MOST_AT_ONCE:
            for key in keys:
                self.forget(scope_of_key(key))
            return
        self._changes += 1
        self._all_changed = self._changes
        self._changed.clear()
        gone = self._rows.keys() & set(keys)
        for key in gone:
            del self._rows[key]

    def refuse(self, info: TokenInfo) -> None:
        """Never hand out this value from memory again, because a resource rejected it."""
        row = self._rows.get(info.key)
        if row is not None and row.token.info.value_id in (info.value_id, NO_VALUE):
            del self._rows[info.key]
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
            stored: returns the rows that the write stored.
        """
        self._forget_all(keys, scopes)
        ticket = self.begin()
        try:
            change = await work
        except BaseException as error:
            self._forget_all(keys, scopes)
            if not isinstance(error, (GenerationConflictError, DataKeyInactiveError)):
                self._doubt(keys, scopes)  # also if the caller is cancelled, because the write goes on
            raise
        rows = stored(change.result) if len(keys) <= _MOST_AT_ONCE else ()
        current = [row for row in rows if not self._has_changed(row.key, ticket)]
        self._forget_all(keys, scopes)
        for row in current:
            self.saw(row.key, row, row.info.updated_at, Ticket(self._changes, ticket.since))
        return change

    def _forget_all(self, keys: Sequence[TokenKey], scopes: Sequence[Scope]) -> None:
        self.forget_keys(keys)
        for scope in scopes:
            self.forget(scope)

    def _doubt(self, keys: Sequence[TokenKey], scopes: Sequence[Scope]) -> None:
        now = self._tasks.monotonic()
        self._in_doubt = {scope: until for scope, until in self._in_doubt.items() if until > now}
        doubted = [*map(scope_of_key, keys), *scopes]
        if len(doubted) + len(self._in_doubt) > _MOST_CHANGES:
            doubted = [EVERYTHING]
        self._in_doubt |= dict.fromkeys(doubted, now + _DOUBT_SECONDS)

    def _has_changed(self, key: TokenKey, ticket: Ticket) -> bool:
        """Return whether a change of this key's row became known since the ticket."""
        if ticket.changes < self._all_changed:
            return True
        return any(self._changed.get(scope, 0) > ticket.changes for scope in _scopes_around(key))

    def _is_barred(self, key: TokenKey, row: StoredToken) -> bool:
        """Return whether a row must not be remembered: its value was rejected, or a write of it is in doubt."""
        if row.info.value_id in self._refused:
            return True
        if not self._in_doubt:
            return False
        now = self._tasks.monotonic()
        return any(self._in_doubt.get(scope, 0.0) > now for scope in _scopes_around(key))

    def _answer(self, key: TokenKey, longest: timedelta) -> Reading | None:
        row = self._rows.get(key)
        if row is None or not longest:
            return None
        age = timedelta(seconds=self._tasks.monotonic() - row.since)
        now = row.store_time + age
        if self._clock is not None:
            now = self._clock.now()
            age = max(age, now - row.store_time)
        if not may_answer(row.token, now, age, longest):
            if age >= self._policy.longest:
                del self._rows[key]
            return None
        if not self._is_at_hand(key.tenant_id, row.token.sealed.data_key_id):
            return None
        return Reading(row.token, now, is_stale=True)


_SCOPE_FIELDS = ("tenant_id", "provider", "identifier", "kind")


def _key_of(scope: Scope) -> TokenKey:
    tenant_id, provider, identifier, kind = scope
    return stored_key(tenant_id, provider, kind, identifier)


def _scopes_around(key: TokenKey) -> Iterable[Scope]:
    whole = scope_of_key(key)
    return (whole[:length] for length in range(len(whole) + 1))
