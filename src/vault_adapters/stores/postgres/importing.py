"""Imports tokens into Postgres: one statement per batch decides for each row whether to store it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from vault_adapters.stores.columns import plain_arrays
from vault_adapters.stores.import_ids import ImportIds
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.deferred import DeferredEvents
from vault_adapters.stores.postgres.limits import Pace
from vault_adapters.stores.postgres.rows import compact, keys_parameters, micros, texts_of_scopes
from vault_adapters.stores.postgres.writing import in_key_order
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.taking import taking
from vault_domain.entities.account import TokenKey
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.imported import ImportedWrite, ImportOutcome
from vault_domain.ports.accounts import StoreBatch
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.late_writes import LateWrites
from vault_domain.transitions.events import key_event

_Stored = tuple[int, UUID, bool, datetime]
"""A stored value: the index of its key, the token's id, whether its key held no token before, and the store's time."""


class Importer:
    """One import; `prepare` is a `PrepareBatch`.

    Args:
        database, queries: run the statements.
        source, overwrite, actor: see `Accounts.begin_import`.
    """

    def __init__(
        self, database: PostgresDatabase, queries: Queries, source: str | None, *, overwrite: bool, actor: str | None
    ) -> None:
        self._database = database
        self._queries = queries
        self._ids = ImportIds.of(source)
        self._overwrite = overwrite
        self._actor = actor

    async def prepare(self, writes: LateWrites[ImportedWrite]) -> StoreBatch:
        """Seal a batch, and return the function that stores it."""
        batch = _Batch(writes.keys, self._ids.several(len(writes.keys)), overwrite=self._overwrite, actor=self._actor)
        async for part in taking(writes, batch.order):
            batch.add(part)
        return partial(self._database.transact, partial(self._store, batch), pace=Pace.BULK)

    async def _store(self, batch: _Batch, transaction: Transaction) -> Change[list[ImportOutcome]]:
        own = await self._own(transaction, batch.keys) if batch.overwrite else None
        ids = {"first_id": self._ids.first, "last_id": self._ids.last, "now": transaction.now}
        rows = await transaction.fetch(self._queries["import_tokens"], batch.parameters() | ids)
        active, *_ = rows[0]
        if active < len(batch.keys):
            raise DataKeyInactiveError
        stored = [(batch.indexes[id_], id_, is_new, now) for _, id_, is_new, now in rows if id_ is not None]
        await self._note_uses(transaction, batch, stored)
        outcomes = [ImportOutcome.SKIPPED] * len(batch.keys)
        for index, _, is_new, _ in stored:
            outcomes[index] = _outcome(is_new=is_new, is_own=own is None or batch.keys[index] in own)
        return Change(outcomes, DeferredEvents(len(stored), lambda number: batch.event(*stored[number])))

    async def _own(self, transaction: Transaction, keys: Sequence[TokenKey]) -> AbstractSet[TokenKey]:
        """Return the keys whose stored row this import recognizes; see `Accounts.begin_import`."""
        rows = await transaction.fetch(self._queries["find_ids"], keys_parameters(keys))
        return {keys[number - 1] for number, id_ in rows if id_ in self._ids}

    async def _note_uses(self, transaction: Transaction, batch: _Batch, stored: Sequence[_Stored]) -> None:
        used = [(index, id_, min(batch.uses[index], now)) for index, id_, _, now in stored if index in batch.uses]
        if used:
            parameters = {"ids": [id_ for _, id_, _ in used], "used_at": [used_at for _, _, used_at in used]}
            keys = keys_parameters(batch.keys[index] for index, _, _ in used)
            await transaction.execute(self._queries["record_uses"], keys | parameters)


class _Batch:
    """The parameters of the statement that stores a batch.

    Args:
        keys: the keys of the values.
        ids: the ids that the tokens get if they are stored, in the order in which they are stored.
        overwrite, actor: see `Accounts.begin_import`.
    """

    def __init__(self, keys: Sequence[TokenKey], ids: Sequence[UUID], *, overwrite: bool, actor: str | None) -> None:
        self.keys = keys
        self.order = in_key_order(keys)
        self.indexes = dict(zip(ids, self.order, strict=True))
        self.overwrite = overwrite
        self.actor = actor
        self.uses: dict[int, datetime] = {}
        """For each value that was used, the time of its last use, by the index of its key."""
        self._columns: dict[str, list[Any]] = defaultdict(list, ids=list(ids))
        self._leads: set[timedelta] = set()
        self._idle: dict[tuple[str, str], timedelta] = {}
        self._added = 0

    def add(self, writes: Sequence[ImportedWrite]) -> None:
        """Add the next values; they come in the order of `order`."""
        for name, values in _columns(writes).items():
            self._columns[name] += values
        for index, write in zip(self.order[self._added : self._added + len(writes)], writes, strict=True):
            if write.last_used_at is not None:
                self.uses[index] = write.last_used_at
            if write.lead is not None:
                self._leads.add(write.lead)
            if write.due_in is not None:
                self._idle[write.key.provider, write.key.kind.value] = write.due_in
        self._added += len(writes)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters."""
        return {
            **compact(self._columns),
            "lead": micros(max(self._leads)) if self._leads else None,
            "idle_providers": [provider for provider, _ in self._idle],
            "idle_kinds": [kind for _, kind in self._idle],
            "due_ins": [micros(due_in) for due_in in self._idle.values()],
            "overwrite": self.overwrite,
            "actor": self.actor,
        }

    def event(self, index: int, _: UUID, is_new: bool, now: datetime) -> AuditEvent:
        """Return the event of a stored value."""
        code = None if is_new else "replaced"
        return key_event(AuditAction.TOKEN_IMPORTED, self.keys[index], 1, now, self.actor, code)


def _columns(writes: Sequence[ImportedWrite]) -> dict[str, list[Any]]:
    scopes = texts_of_scopes(write.scopes for write in writes)
    return {
        **keys_parameters(write.key for write in writes),
        "data_key_ids": [write.sealed.data_key_id for write in writes],
        "blobs": [write.sealed.blob for write in writes],
        "extras": [write.sealed.extra for write in writes],
        "statuses": [write.status.value for write in writes],
        "error_codes": [write.error_code for write in writes],
        "expires_at": [write.expires_at for write in writes],
        "scopes": [scopes[write.scopes] for write in writes],
        "refreshed_at": [write.last_refreshed_at for write in writes],
        "created_at": [write.created_at for write in writes],
        "updated_at": [write.updated_at for write in writes],
        **plain_arrays(writes),
    }


def _outcome(*, is_new: bool, is_own: bool) -> ImportOutcome:
    if is_new:
        return ImportOutcome.IMPORTED
    return ImportOutcome.SKIPPED if is_own else ImportOutcome.REPLACED
