"""Loads an account whole, and puts a new state in place of the loaded one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, TypeVar

from attrs import evolve, frozen

from vault_adapters.stores.columns import OWNED_VALUE, generation_of, is_missing, plain_arrays
from vault_adapters.stores.damage import Damage, gone_kinds, own_key, refused_account, report_damage, sealed_value
from vault_adapters.stores.postgres.appending import event_parameters
from vault_adapters.stores.postgres.cursors import Row, Texts, int8
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.rows import (
    account_parameters,
    account_row,
    micros,
    scopes_text,
    token_info,
)
from vault_adapters.stores.postgres.timelines import Timelines
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import Account, TokenKey, stored_account
from vault_domain.entities.account_state import AccountRow, AccountState, Decision
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

_MOST_REMEMBERED = 1000

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
        return Snapshot(self.state.record, sealed, self.now, self.store_since, self.timeline, self.turned_at)


class AccountStates:
    """The part of `Accounts` that reads and changes whole accounts."""

    def __init__(self, database: PostgresDatabase, queries: Queries, timelines: Timelines) -> None:
        self._database = database
        self._queries = queries
        self._timelines = timelines
        self._last_read: dict[Account, tuple[Loaded, float]] = {}
        """Accounts as `read` has found them, each with the monotonic time of the answer."""

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
        """Decide about an account that `read` has read a moment ago; return what it was and the decision.

        This saves a read, because a refresh reads the account before its request and changes it after the answer. If
        the account has changed meanwhile, `apply` writes nothing. Return None if the account must be read again:

        - Only a write shows whether this is still the account. So a decision to write nothing does not count.
        - A new lease would begin before the answer to that read, and end before its holder believes.
        """
        loaded, answered = self._last_read.pop(account, (None, 0.0))
        age = timedelta(seconds=self._database.clock_watch.monotonic() - answered)
        if loaded is None or age > MOST_AGE / 2:
            return None
        before = loaded.state
        try:
            decision = decide(before, self._database.now() or loaded.now + age)
        except VaultError:  # an account may be refused that has become another one meanwhile
            return None
        after = decision.state
        begins_lease = after.refresh.lease_until not in {None, before.refresh.lease_until}
        return None if after is before or begins_lease else (before, decision)

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
        *_, loaded_at = before.version
        parameters = {
            **state_parameters(before, decision),
            **event_parameters(decision.events),
            "latest": loaded_at + MOST_AGE,
            "now": self._database.now(),
        }
        changed, gone = changed_tokens(before, decision.state), gone_kinds(before, decision.state)
        if not (changed or gone):
            return bool(await self._database.write(self._queries["apply_row"], parameters))
        parameters |= token_parameters(changed, before) | {"gone": Texts([kind.value for kind in gone])}
        return await self._apply_account(parameters, empties=bool(gone) and decision.state.is_empty)

    async def _apply_account(self, parameters: Mapping[str, Any], *, empties: bool) -> bool:
        async def work(transaction: Transaction) -> list[Row]:
            rows = await transaction.fetch(self._queries["apply_account"], parameters)
            # The account's row is locked now. A writer that held it before may have stored a token, which the next
            # statement sees. Then the row stays.
            await transaction.execute(self._queries["delete_orphaned_account"], parameters)
            return rows

        try:
            if empties:
                rows = await self._database.transact(work)
            else:
                rows = await self._database.write(self._queries["apply_account"], parameters)
            [(same, active, *_)] = rows
        except StorageError as error:
            if error.reason != _CHANGED:
                raise
            return False
        # The conflict first: of an erased tenant the data key is gone too, but there is nothing left to seal anew.
        if same and not active:
            raise DataKeyInactiveError
        return bool(same)

    async def read(self, account: Account) -> Snapshot:
        """Read an account with its sealed values."""
        asked = self._database.clock_watch.monotonic()
        loaded = await self._load(account)
        snapshot = loaded.snapshot()
        self._last_read[account] = loaded, self._database.clock_watch.monotonic()
        if len(self._last_read) > _MOST_REMEMBERED:
            del self._last_read[next(iter(self._last_read))]
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
    tokens, versions, row, row_version, now, about, damage = {}, {}, None, None, None, [], Damage()
    try:
        for each in rows:
            token, key, columns, value, rest = OWNED_VALUE.split(each)
            now, version, *more, stored_version, is_end_told, has_row = rest[:-3]
            about = rest[-3:]
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
        return Loaded(AccountState(account, tokens, row, damage.rows, (row_version, versions, now)), now, *about)
    raise refusal


def _stored(token: Row, key: TokenKey, value: Row, is_end_told: bool | None) -> StoredToken:
    return StoredToken(token_info(token, key), sealed_value(*value), is_end_told=bool(is_end_told))


def changed_tokens(before: AccountState, after: AccountState) -> list[StoredToken]:
    """Return the tokens that a decision has put in place."""
    return [token for kind, token in after.tokens.items() if before.tokens.get(kind) is not token]


def state_parameters(before: AccountState, decision: Decision[Any]) -> dict[str, Any]:
    """Return the loaded versions, and the account's new row, as named parameters."""
    row_version, versions, _ = before.version
    row = decision.state.row or before.row  # a row that is to be deleted is locked and compared too
    return {
        **_row_parameters(before.account, row or AccountRow()),
        "has_row": row is not None,
        "kinds": Texts([kind.value for kind in versions]),
        "versions": [int8(version) for version in versions.values()],
        "version": None if row_version is None else int8(row_version),
        "durable": decision.durable,
    }


def _row_parameters(account: Account, row: AccountRow) -> dict[str, Any]:
    refresh = row.refresh
    return {
        **account_parameters(account),
        "label": row.label,
        "credential_value_id": refresh.credential_value_id,
        "attempt_id": refresh.attempt_id,
        "committed_attempt_id": row.committed_attempt_id,
        "lease_until": refresh.lease_until,
        "sent_at": refresh.sent_at,
        "failures": int8(refresh.failures),
        "next_attempt_at": refresh.next_attempt_at,
        "unknown_since": refresh.unknown_since,
        "error_code": refresh.error_code,
        "refused_since": refresh.refused_since,
        "refused_for": micros(refresh.refused_for),
        "endpoint": row.endpoint,
        "due_at": row.due_at,
    }


def token_parameters(changed: Sequence[StoredToken], before: AccountState) -> dict[str, Any]:
    """Return tokens that are to be written as arrays, one per column."""
    infos, sealed = [token.info for token in changed], [token.sealed for token in changed]
    new = [token for token in changed if token.info.value_id not in before.value_ids]
    return {
        "key_ids": sorted({token.sealed.data_key_id for token in new}),
        "are_new": len(new) == len(changed),
        "w_kinds": Texts([info.key.kind.value for info in infos]),
        "w_ids": [info.id for info in infos],
        "w_value_ids": [info.value_id for info in infos],
        "w_data_key_ids": [each.data_key_id for each in sealed],
        "w_blobs": [each.blob for each in sealed],
        "w_extras": [each.extra for each in sealed],
        "w_statuses": Texts([info.status.value for info in infos]),
        "w_error_codes": [info.error_code for info in infos],
        "w_expires_at": [info.expires_at for info in infos],
        "w_lifetimes": [None if info.lifetime is None else micros(info.lifetime) for info in infos],
        "w_scopes": Texts([scopes_text(info.scopes) for info in infos]),
        "w_generations": [int8(info.generation) for info in infos],
        "w_refreshed_at": [info.last_refreshed_at for info in infos],
        "w_created_at": [info.created_at for info in infos],
        "w_updated_at": [info.updated_at for info in infos],
        "w_suspect_since": [info.suspect_since for info in infos],
        "w_rejected_at": [info.rejected_at for info in infos],
        "w_noted_value_ids": [token.info.value_id if token.is_end_told else None for token in changed],
        **plain_arrays(infos, "w_"),
    }
