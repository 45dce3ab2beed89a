"""Imports tokens into Postgres: what a batch's keys hold is locked, the import decides, and one statement writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import compress
from typing import Any
from uuid import UUID

from attrs import frozen

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
from vault_domain.entities.errors import StorageError
from vault_domain.entities.imported import ImportedWrite, ImportOutcome
from vault_domain.ports.accounts import StoreBatch
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.late_writes import LateWrites
from vault_domain.rules.schedule import due_at_of
from vault_domain.transitions.events import key_event
from vault_domain.transitions.importing import DAMAGED, Held, outcome_of, past, refreshed_at

# Largest number of rounds. Another round is needed if other writers have stored tokens under keys that held none.
_ROUNDS = 8

_Outcomes = Mapping[TokenKey, ImportOutcome]
_Held = Mapping[TokenKey, Held]

_Stored = tuple[ImportedWrite, UUID, datetime]
"""A stored value, its token's id, and the store's time."""


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
        sealed: list[ImportedWrite] = []
        columns: dict[str, list[Any]] = defaultdict(list)
        async for part in taking(writes, in_key_order(writes.keys)):
            sealed += part
            for name, values in _columns(part).items():
                columns[name] += values
        work = partial(self._store, writes.keys, _Batch(sealed, self._ids.several(len(sealed)), columns))
        return partial(self._database.transact, work, pace=Pace.BULK)

    async def _store(
        self, keys: Sequence[TokenKey], batch: _Batch, transaction: Transaction
    ) -> Change[list[ImportOutcome]]:
        outcomes: dict[TokenKey, ImportOutcome] = {}
        stored: list[_Stored] = []
        for _ in range(_ROUNDS):
            held, held_ids, now = await self._lock(batch, transaction)
            decided = [
                outcome_of(write, held.get(write.key), now, self._ids, overwrite=self._overwrite)
                for write in batch.writes
            ]
            outcomes |= {write.key: outcome for write, (outcome, _) in zip(batch.writes, decided, strict=True)}
            chosen = batch.of([is_stored for _, is_stored in decided])
            parameters = chosen.parameters(held, now, self._ids) | {"held_ids": held_ids, "actor": self._actor}
            rows = await transaction.fetch(self._queries["import_tokens"], parameters) if chosen.ids else ()
            found = {id_ for (id_,) in rows}
            named = zip(chosen.writes, chosen.ids, strict=True)
            stored += [(write, id_, now) for write, id_ in named if id_ in found]
            batch = chosen.of([id_ not in found for id_ in chosen.ids])
            if not batch.ids:
                break
        else:
            raise StorageError("other writers kept storing these tokens; nothing was imported", retryable=True)
        if stored:
            await self._schedule(stored, outcomes, transaction)
            await self._note_uses(stored, transaction)
        events = DeferredEvents(len(stored), lambda number: self._event(stored[number], outcomes))
        return Change([outcomes[key] for key in keys], events)

    async def _lock(self, batch: _Batch, transaction: Transaction) -> tuple[_Held, list[UUID], datetime]:
        """Lock the tokens under the keys; return what the import looks at, their ids, and the time."""
        names = ("tenant_ids", "providers", "kinds", "identifiers", "data_key_ids")
        parameters = {name: batch.columns[name] for name in names} | {"now": transaction.now}
        rows = await transaction.fetch(self._queries["load_held"], parameters)
        [(active, now, *_), *_] = rows
        there = [(number, *columns) for _, _, number, *columns in rows if number is not None]
        if active < len(batch.ids):
            raise DataKeyInactiveError
        held = {batch.writes[number - 1].key: _token(*columns) for number, *columns in there}
        return held, [id_ for _, id_, *_ in there if id_ is not None], now

    async def _schedule(self, stored: Sequence[_Stored], outcomes: _Outcomes, transaction: Transaction) -> None:
        """Set the due times of the accounts of stored values."""
        stored_at = min(now for _, _, now in stored)
        due = [due_at_of(write, write.expires_at, now) for write, _, now in stored]
        leads = {lead: None if lead is None else micros(lead) for lead in {write.lead for write, _, _ in stored}}
        columns = keys_parameters(write.key for write, _, _ in stored) | {
            "expires_at": [write.expires_at for write, _, _ in stored],
            "leads": [leads[write.lead] for write, _, _ in stored],
            "due_ins": [None if at is None else micros(at - stored_at) for at in due],
            "lifetimes": None,
            "are_replaced": [outcomes[write.key] is not ImportOutcome.IMPORTED for write, _, _ in stored],
        }
        times = {"stored_at": stored_at, "now": transaction.now}
        await transaction.execute(self._queries["schedule_accounts"], columns | times)

    async def _note_uses(self, stored: Sequence[_Stored], transaction: Transaction) -> None:
        """Store the times of last uses."""
        used = [(write.key, id_, min(at, now)) for write, id_, now in stored if (at := write.last_used_at) is not None]
        if used:
            parameters = {"ids": [id_ for _, id_, _ in used], "used_at": [used_at for _, _, used_at in used]}
            keys = keys_parameters(key for key, _, _ in used)
            await transaction.execute(self._queries["record_uses"], keys | parameters)

    def _event(self, stored: _Stored, outcomes: _Outcomes) -> AuditEvent:
        write, _, now = stored
        code = None if outcomes[write.key] is ImportOutcome.IMPORTED else "replaced"
        return key_event(AuditAction.TOKEN_IMPORTED, write.key, 1, now, self._actor, code)


@frozen
class _Batch:
    """Values in the order of their keys, the ids that they get if they are stored, and their other columns."""

    writes: list[ImportedWrite]
    ids: list[UUID]
    columns: Mapping[str, list[Any]]

    def of(self, wanted: list[bool]) -> _Batch:
        """Return some of the values."""
        if all(wanted):
            return self
        columns = {name: list(compress(values, wanted)) for name, values in self.columns.items()}
        return _Batch(list(compress(self.writes, wanted)), list(compress(self.ids, wanted)), columns)

    def parameters(self, held: _Held, now: datetime, own: ImportIds) -> dict[str, Any]:
        """Return the parameters of `import_tokens`, except for the ids of what is held and for who imports."""
        times: dict[str, list[Any]] = {
            "refreshed_at": [refreshed_at(write, held.get(write.key), now, own) for write in self.writes],
            "created_at": [past(write.created_at, now) for write in self.writes],
            "updated_at": [past(write.updated_at, now) for write in self.writes],
        }
        return compact({**self.columns, **times, "ids": self.ids}) | {"stored_at": now} if self.ids else {}


def _token(id_: UUID | None, generation: int | None, updated_at: datetime | None, refreshed: datetime | None) -> Held:
    if id_ is None or generation is None or updated_at is None:
        return DAMAGED
    return Held(id_, generation, updated_at, refreshed)


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
        **plain_arrays(writes),
    }
