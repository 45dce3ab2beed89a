"""Loads an account whole, and puts a new state in place of the loaded one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from attrs import evolve, frozen

from vault_adapters.stores.columns import OWNED_VALUE, generation_of, is_missing
from vault_adapters.stores.damage import Damage, own_key, refused_account, report_damage, sealed_value
from vault_adapters.stores.postgres.account_columns import versions_of
from vault_adapters.stores.postgres.account_writes import statement_of
from vault_adapters.stores.postgres.cursors import Row, int8
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.rows import account_parameters, account_row, kept_answer, micros, token_info
from vault_adapters.stores.postgres.shaping import shaped
from vault_adapters.stores.postgres.timelines import Timelines
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import Account, TokenKey, stored_account
from vault_domain.entities.account_state import AccountState, Decision
from vault_domain.entities.causes import LOCKED
from vault_domain.entities.errors import StorageError, VaultError
from vault_domain.entities.token import StoredToken
from vault_domain.ports.accounts import Decide, DueAccount, Snapshot
from vault_domain.ports.change import DataKeyInactiveError

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MOST_AGE = timedelta(seconds=1)
"""Longest time between the load and the write, because a lease begins at the time that was loaded.

If it were written much later, it would end too early, and another process might present the same credential while the
request is still open.
"""

MOST_FORESEEN = timedelta(minutes=1)
"""Longest time for which a change begins with what this process has read or written last.

It bounds what the time of the decision may be wrong by, and how often another writer has been there.
"""

_MOST_KNOWN = 1000
_MOST_KNOWN_BYTES = 16_384
"""Largest size of an account's sealed values to be known, so that all known values together take at most 16 MB."""

_MOST_TRIES = 50
"""Largest number of times that a change is decided. Each time, another writer has made progress."""

_ROUNDS = 8

_CHANGED = "22P02"
"""SQLSTATE with which `apply_account` fails if it finds rows that another writer has inserted meanwhile."""


@frozen
class Loaded:
    """An account as it is stored.

    Attributes:
        state: the account.
        now: the store's time.
        store_since: see `Snapshot`.
        timeline: see `Snapshot`.
        turned_at: see `Snapshot`.
    """

    state: AccountState
    now: datetime
    store_since: datetime | None
    timeline: str | None
    turned_at: datetime | None

    def snapshot(self) -> Snapshot:
        """Return the account for a reader.

        Raises:
            DecryptionError: a row is damaged.
        """
        if self.state.damaged:
            raise refused_account(self.state.account, ValueError())
        sealed = {kind: token.sealed for kind, token in self.state.tokens.items()}
        about = self.store_since, self.timeline, self.turned_at
        return Snapshot(self.state.record, sealed, self.now, self.state.answer, *about)


class Known(NamedTuple):
    """An account as this process has read or written it last.

    Attributes:
        state: the account.
        now: the store's time.
        asked: the monotonic time in seconds before that time.
        answered: the monotonic time in seconds after it.
    """

    state: AccountState
    now: datetime
    asked: float
    answered: float


class AccountStates:
    """The part of `Accounts` that reads and changes whole accounts."""

    def __init__(self, database: PostgresDatabase, queries: Queries, timelines: Timelines) -> None:
        self._database = database
        self._queries = queries
        self._timelines = timelines
        self._known: dict[Account, Known] = {}

    async def change(self, account: Account, decide: Decide[T]) -> Decision[T]:
        """Load an account, decide, and write the new state if the account is still the one that was loaded."""
        for _ in range(_MOST_TRIES):
            decision = await self.try_change(account, decide)
            if decision is not None:
                return decision
        raise StorageError("other writers have changed this account all the time", retryable=True, reason=LOCKED)

    async def try_change(self, account: Account, decide: Decide[T]) -> Decision[T] | None:
        """Do what `change` does; return None and write nothing if another writer has changed the account meanwhile."""
        foreseen = self._foresee(account, decide)
        if foreseen is not None and await self.apply(*foreseen):
            return foreseen[1]
        state, now = await self.load(account)
        decision = decide(state, now)
        return decision if decision.state is state or await self.apply(state, decision) else None

    def _foresee(self, account: Account, decide: Decide[T]) -> tuple[AccountState, Decision[T]] | None:
        """Decide about an account as this process has read or written it last; return what it was and the decision.

        This saves a read: a refresh reads the account before its request and changes it after the answer, and who got a
        token marks it. If the account has changed meanwhile, `apply` writes nothing. Return None if the account must be
        read again:

        - Only a write shows whether this is still the account. So a decision to write nothing does not count.
        - The time is computed, and known but for the time that the store's answer took. A lease begins at the latest
          that it may be, so that it does not end before its holder believes. All else is dated at the earliest,
          because a time in the future means that the clock was set back. Whether another lease has ended is decided by
          the store's own time, and clocks run apart after a while.
        """
        known = self._known.pop(account, None)
        monotonic = self._database.clock_watch.monotonic()
        if known is None or monotonic - known.asked > MOST_FORESEEN.total_seconds():
            return None
        foreseen = self._decided(known, monotonic - known.answered, decide)
        if foreseen is None:
            return None
        before, after = foreseen[0].refresh, foreseen[1].state.refresh
        if after.lease_until in {None, before.lease_until}:
            return foreseen
        is_late = before.lease_until is not None or monotonic - known.asked > MOST_AGE.total_seconds() / 2
        return None if is_late else self._decided(known, monotonic - known.asked, decide)

    def _decided(self, known: Known, seconds: float, decide: Decide[T]) -> tuple[AccountState, Decision[T]] | None:
        """Decide about a known account, so many seconds later; return None if nothing would be written."""
        now = self._database.now() or known.now + timedelta(seconds=seconds)
        row_version, versions, _ = known.state.version
        before = evolve(known.state, version=(row_version, versions, now))
        try:
            decision = decide(before, now)
        except VaultError:  # an account may be refused that has become another one meanwhile
            return None
        return None if decision.state is before else (before, decision)

    def forget(self, keys: Iterable[TokenKey]) -> None:
        """Begin the next change of the accounts of these keys with a read, because another write has changed them."""
        for key in keys if self._known else ():
            self._known.pop(key.account, None)

    def forget_all(self) -> None:
        """Keep nothing of any account in memory."""
        self._known.clear()

    def _know(self, state: AccountState, now: datetime, asked: float) -> None:
        sealed = [token.sealed for token in state.tokens.values()]
        sealed += [] if state.answer is None else [state.answer.sealed]
        if sum(len(each.blob) + len(each.extra or b"") for each in sealed) > _MOST_KNOWN_BYTES:
            return
        self._known[state.account] = Known(state, now, asked, self._database.clock_watch.monotonic())
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    async def load(self, account: Account) -> tuple[AccountState, datetime]:
        """Return the account as it is stored, and the store's time."""
        loaded = await self._load(account)
        report_damage(loaded.state)
        return loaded.state, loaded.now

    async def apply(self, before: AccountState, decision: Decision[Any]) -> bool:
        """Write the decision in one statement; return False and write nothing if the account is no longer ``before``.

        Args:
            before: what `load` returned. If this was more than `MOST_AGE` ago, nothing is written either.
            decision: what becomes of it.

        Raises:
            DataKeyInactiveError: a new value is sealed under a data key that is not active; nothing was written.
        """
        row_version, versions, loaded_at = before.version
        shape, parameters = statement_of(before, decision)
        parameters |= {"earliest": loaded_at - MOST_AGE, "latest": loaded_at + MOST_AGE, "now": self._database.now()}
        # The account's row is locked when the second statement begins. A writer that held it before may have stored a
        # token, which this statement sees. Then the row stays.
        empties = "deleted" in shape.parts and decision.state.is_empty
        then = self._queries["delete_orphaned_account"] if empties else None
        asked = self._database.clock_watch.monotonic()
        try:
            sql = shaped(self._queries["apply_account"], shape)
            [(same, active, now, written, version, *_)] = await self._database.write(sql, parameters, then=then)
        except StorageError as error:
            if error.reason != _CHANGED:
                raise
            return False
        # The conflict first: of an erased tenant the data key is gone too, but there is nothing left to seal anew.
        if same and not active:
            raise DataKeyInactiveError
        after = decision.state
        if same and not after.is_empty and not after.damaged:
            versions = {kind: each for kind, each in versions.items() if kind in after.tokens} | versions_of(written)
            new = (row_version if version is None else version, versions, now)
            self._know(evolve(after, version=new), now, asked)
        return bool(same)

    async def read(self, account: Account) -> Snapshot:
        """Read an account with its sealed values."""
        asked = self._database.clock_watch.monotonic()
        loaded = await self._load(account)
        snapshot = loaded.snapshot()
        self._know(loaded.state, loaded.now, asked)
        if snapshot.timeline is not None and snapshot.turned_at is None:
            turned_at = await self._timelines.meet(snapshot.timeline)
            # `turned_at` may be much later than the snapshot's `now`. Limit it to `now`, because `settled_at` ignores a
            # `turned_at` that is over a second later than `now`.
            snapshot = evolve(snapshot, turned_at=min(turned_at or snapshot.now, snapshot.now))
        reachable, unset = self._database.noticed(snapshot.now, asked)
        if reachable is None and unset is None:
            return snapshot
        started = snapshot.store_since
        since = max((at for at in (started, reachable) if at is not None), default=None)
        return evolve(snapshot, store_since=since, clock_since=unset)

    async def _load(self, account: Account) -> Loaded:
        parameters = account_parameters(account) | {"now": self._database.now()}
        return loaded_account(await self._database.fetch(self._queries["load_account"], parameters), account)

    async def reserve_due(
        self, provider: str, *, hold: timedelta, limit: int, since: datetime | None, until: datetime | None
    ) -> tuple[list[DueAccount], datetime]:
        """Take up to ``limit`` due accounts of a provider, earliest first."""
        parameters = {
            "provider": provider,
            "hold": micros(hold),
            "limit": int8(limit),
            "since": since or _EPOCH,
            "until": until,
            "now": self._database.now(),
        }
        for _ in range(_ROUNDS):
            rows = await self._database.write(self._queries["reserve_due_accounts"], parameters)
            [(_, picked, now), *taken] = rows
            if taken or picked is None:  # on Citus, other sweeps may have taken all accounts that this one had picked
                break
        due = [DueAccount(stored_account(tenant, provider, name), due_at) for tenant, name, due_at in taken]
        due.sort(key=attrgetter("due_at"))
        return due, now


def loaded_account(rows: Sequence[Row], account: Account) -> Loaded:
    """Return an account from the rows of `load_account`.

    Raises:
        DecryptionError: a row belongs to another account, or its kind cannot be read.
    """
    tokens, versions, row, row_version, now, answer, about, damage = {}, {}, None, None, None, None, [], Damage()
    try:
        for each in rows:
            token, key, columns, value, rest = OWNED_VALUE.split(each)
            now, version, *more, stored_version, is_end_told, has_row = rest[:-7]
            kept, about = rest[-7:-3], rest[-3:]
            if kept[0] is not None:
                answer = damage.read(None, None, kept_answer, *kept)
            if has_row:
                row, row_version = damage.read(None, None, account_row, columns, *more), stored_version
            if not is_missing(token):
                own = own_key(key, account)
                versions[own.kind] = version
                stored = damage.read(own.kind, generation_of(token), _stored, token, own, value, is_end_told)
                if stored is not None:
                    tokens[own.kind] = stored
        assert now is not None  # noqa: S101 - the query returns at least one row, and every row holds the time
    except Exception as error:
        refusal = refused_account(account, error)
    else:
        state = AccountState(account, tokens, row, answer, damage.rows, (row_version, versions, now))
        return Loaded(state, now, *about)
    raise refusal


def _stored(token: Row, key: TokenKey, value: Row, is_end_told: bool | None) -> StoredToken:
    return StoredToken(token_info(token, key), sealed_value(*value), is_end_told=bool(is_end_told))
