"""Imports tokens into Postgres: one statement per batch decides for each row whether to store it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any
from uuid import UUID

from vault_adapters.stores.import_ids import ImportIds
from vault_adapters.stores.postgres.audit import token_event
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.deferred import DeferredEvents
from vault_adapters.stores.postgres.limits import Pace
from vault_adapters.stores.postgres.rows import key_columns, keys_parameters, micros, scopes_text
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import TokenKey
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.imported import ImportedWrite, ImportOutcome
from vault_domain.ports.change import Change, DataKeyInactiveError

_Stored = tuple[ImportedWrite, UUID, bool, datetime]
"""A stored write: the write, the new id of its token, whether its key held no token before, and the store's time."""


class PostgresImportRepository:
    """Implements `ImportRepository`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    def begin(self, source: str | None) -> PostgresImportRun:
        """Begin an import."""
        return PostgresImportRun(self._database, self._queries, ImportIds.of(source))

    async def existing(self, keys: Sequence[TokenKey]) -> AbstractSet[TokenKey]:
        """Return the subset of these keys that hold a token."""
        rows = await self._database.fetch(self._queries["find_ids"], keys_parameters(keys))
        return {keys[number - 1] for number, _ in rows}


class PostgresImportRun:
    """Implements `ImportRun`."""

    def __init__(self, database: PostgresDatabase, queries: Queries, ids: ImportIds) -> None:
        self._database = database
        self._queries = queries
        self._ids = ids

    async def write(
        self, writes: Sequence[ImportedWrite], *, overwrite: bool, actor: str | None
    ) -> Change[list[ImportOutcome]]:
        """Store a batch in one transaction."""
        # Every writer locks tokens in the order of their keys, because two writers could deadlock otherwise.
        ordered = sorted(writes, key=lambda write: key_columns(write.key))
        by_id = dict(zip(self._ids.several(len(ordered)), ordered, strict=True))
        parameters = self._parameters(by_id) | {"overwrite": overwrite, "actor": actor}

        async def work(transaction: Transaction) -> Change[list[ImportOutcome]]:
            own = await self._own(transaction, ordered) if overwrite else {write.key for write in ordered}
            rows = await transaction.fetch(self._queries["import_tokens"], parameters | {"now": transaction.now})
            active, *_ = rows[0]
            if active < len(ordered):
                raise DataKeyInactiveError
            stored = [(by_id[id_], id_, is_new, now) for _, id_, is_new, now in rows if id_ is not None]
            await self._note_uses(transaction, stored)
            outcomes = {write.key: _outcome(write, own, is_new=is_new) for write, _, is_new, _ in stored}
            events = DeferredEvents(len(stored), lambda number: _event(stored[number], actor))
            return Change([outcomes.get(write.key, ImportOutcome.SKIPPED) for write in writes], events)

        return await self._database.transact(work, pace=Pace.BULK)

    async def _own(self, transaction: Transaction, writes: Sequence[ImportedWrite]) -> AbstractSet[TokenKey]:
        """Return the keys whose stored row this import recognizes; see `ImportRun`."""
        rows = await transaction.fetch(self._queries["find_ids"], keys_parameters(write.key for write in writes))
        return {writes[number - 1].key for number, id_ in rows if id_ in self._ids}

    async def _note_uses(self, transaction: Transaction, stored: Sequence[_Stored]) -> None:
        used = [(write.key, id_, min(write.last_used_at, now)) for write, id_, _, now in stored if write.last_used_at]
        if used:
            parameters = {"ids": [id_ for _, id_, _ in used], "used_at": [used_at for _, _, used_at in used]}
            keys = keys_parameters(key for key, _, _ in used)
            await transaction.execute(self._queries["record_uses"], keys | parameters)

    def _parameters(self, by_id: Mapping[UUID, ImportedWrite]) -> dict[str, Any]:
        writes = by_id.values()
        idle = {
            (write.key.provider, write.key.kind.value): micros(write.due_in)
            for write in writes
            if write.due_in is not None
        }
        return {
            **keys_parameters(write.key for write in writes),
            "ids": list(by_id),
            "data_key_ids": [write.sealed.data_key_id for write in writes],
            "blobs": [write.sealed.blob for write in writes],
            "extras": [write.sealed.extra for write in writes],
            "statuses": [write.status.value for write in writes],
            "error_codes": [write.error_code for write in writes],
            "expires_at": [write.expires_at for write in writes],
            "scopes": [scopes_text(write.scopes) for write in writes],
            "refreshed_at": [write.last_refreshed_at for write in writes],
            "created_at": [write.created_at for write in writes],
            "updated_at": [write.updated_at for write in writes],
            "lead": max((micros(write.lead) for write in writes if write.lead is not None), default=None),
            "idle_providers": [provider for provider, _ in idle],
            "idle_kinds": [kind for _, kind in idle],
            "due_ins": list(idle.values()),
            "first_id": self._ids.first,
            "last_id": self._ids.last,
        }


def _outcome(write: ImportedWrite, own: AbstractSet[TokenKey], *, is_new: bool) -> ImportOutcome:
    if is_new:
        return ImportOutcome.IMPORTED
    return ImportOutcome.SKIPPED if write.key in own else ImportOutcome.REPLACED


def _event(stored: _Stored, actor: str | None) -> AuditEvent:
    write, _, is_new, now = stored
    return token_event(AuditAction.TOKEN_IMPORTED, write.key, 1, now, actor, None if is_new else "replaced")
