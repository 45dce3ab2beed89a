"""Imports tokens into SQLite. Each transaction reads, then writes; this is safe, because SQLite has one writer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from vault_adapters.stores.import_ids import ImportIds
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import key_parameters, keys_parameter, plain_parameters, to_micros
from vault_adapters.stores.sqlite.writing import require_active_data_keys, schedule_accounts
from vault_adapters.stores.taking import taken
from vault_domain.entities.account import TokenKey, stored_key
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.imported import ImportedWrite, ImportOutcome
from vault_domain.ports.accounts import StoreBatch
from vault_domain.ports.change import Change
from vault_domain.ports.late_writes import LateWrites
from vault_domain.transitions.importing import DAMAGED, Held, outcome_of

_ID_SIZE = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Importer:
    """One import; `prepare` is a `PrepareBatch`.

    Args:
        database, queries: run the statements.
        source, overwrite, actor: see `Accounts.begin_import`.
    """

    def __init__(
        self, database: SqliteDatabase, queries: Queries, source: str | None, *, overwrite: bool, actor: str | None
    ) -> None:
        self._database = database
        self._queries = queries
        self._ids = ImportIds.of(source)
        self._overwrite = overwrite
        self._actor = actor

    async def prepare(self, writes: LateWrites[ImportedWrite]) -> StoreBatch:
        """Seal a batch, and return the function that stores it."""
        batch = await taken(writes)

        async def work(transaction: Transaction) -> Change[list[ImportOutcome]]:
            await require_active_data_keys(transaction, self._queries, batch)
            state = {"keys": keys_parameter(writes.keys)}
            rows = await transaction.fetch(self._queries["get_import_state"], state)
            held, now = _held(rows), transaction.now
            outcomes = [
                outcome_of(write, held.get(write.key), now, self._ids, overwrite=self._overwrite) for write in batch
            ]
            decided = [(write, *outcome) for write, outcome in zip(batch, outcomes, strict=True)]
            stored = [write for write, _, is_stored in decided if is_stored]
            replaced = {write.key for write, outcome, _ in decided if outcome is ImportOutcome.REPLACED}
            await self._store(stored, replaced, transaction)
            new = {write.key for write, outcome, _ in decided if outcome is ImportOutcome.IMPORTED}
            events = tuple(_event(write, transaction, self._actor, is_new=write.key in new) for write in stored)
            await append_events(transaction, self._queries, events)
            return Change([outcome for _, outcome, _ in decided], events)

        return partial(self._database.transact, work)

    async def _store(
        self, writes: Sequence[ImportedWrite], replaced: AbstractSet[TokenKey], transaction: Transaction
    ) -> None:
        now = transaction.now
        parameters = [
            _parameters(write, self._ids.new(), now)
            | {"replaced_at": to_micros(now) if write.key in replaced else None}
            for write in writes
        ]
        await transaction.execute_many(self._queries["import_token"], parameters)
        await schedule_accounts(transaction, self._queries, [(write, write.expires_at) for write in writes])
        uses = [
            {**values, "used_at": _past(write.last_used_at, now)}
            for write, values in zip(writes, parameters, strict=True)
            if write.last_used_at is not None
        ]
        await transaction.execute_many(self._queries["record_use"], uses)


def _held(rows: Sequence[Row]) -> dict[TokenKey, Held]:
    return {stored_key(*key): _token(id_, generation, updated_at) for *key, id_, generation, updated_at in rows}


def _token(id_: object, generation: object, updated_at: object) -> Held:
    if type(id_) is bytes and len(id_) == _ID_SIZE and type(generation) is int and type(updated_at) is int:
        with suppress(OverflowError):
            return Held(UUID(bytes=id_), generation, _EPOCH + timedelta(microseconds=updated_at))
    return DAMAGED


def _parameters(write: ImportedWrite, id_: UUID, now: datetime) -> dict[str, Any]:
    refreshed_at = write.last_refreshed_at
    return {
        **key_parameters(write.key),
        "id": id_.bytes,
        "data_key_id": write.sealed.data_key_id,
        "blob": write.sealed.blob,
        "extra": write.sealed.extra,
        "status": write.status.value,
        "error_code": write.error_code,
        "expires_at": to_micros(write.expires_at),
        "scopes": json.dumps(write.scopes, separators=(",", ":")),
        "last_refreshed_at": None if refreshed_at is None else _past(refreshed_at, now),
        "created_at": _past(write.created_at, now),
        "updated_at": _past(write.updated_at, now),
        **plain_parameters(write),
    }


def _past(moment: datetime | None, now: datetime) -> int:
    """Return a time in microseconds since 1970; None and times in the future become ``now``."""
    micros = to_micros(now if moment is None else min(moment, now))
    assert micros is not None  # noqa: S101 - `to_micros` returns None only for None
    return micros


def _event(write: ImportedWrite, transaction: Transaction, actor: str | None, *, is_new: bool) -> AuditEvent:
    return AuditEvent(
        AuditAction.TOKEN_IMPORTED,
        transaction.now,
        tenant_id=write.key.tenant_id,
        account=write.key.account,
        kind=write.key.kind,
        generation=1,
        actor=actor,
        code=None if is_new else "replaced",
    )
