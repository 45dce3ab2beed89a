"""Imports tokens into SQLite. Each transaction reads, then writes; this is safe, because SQLite has one writer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from vault_adapters.stores.import_ids import ImportIds
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import key_parameters, to_micros, token_parameters
from vault_adapters.stores.sqlite.writing import held_tokens, require_active_data_keys, schedule_accounts
from vault_adapters.stores.taking import taken
from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.imported import ImportedWrite, ImportOutcome
from vault_domain.entities.token import StoredToken
from vault_domain.ports.accounts import StoreBatch
from vault_domain.ports.change import Change
from vault_domain.ports.late_writes import LateWrites
from vault_domain.transitions.importing import imported


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
            held = await held_tokens(transaction, self._queries, writes.keys)
            now, events = transaction.now, list[AuditEvent]()
            outcomes: list[ImportOutcome] = []
            stored: list[tuple[ImportedWrite, StoredToken]] = []
            for write, state in zip(batch, held, strict=True):
                named = [(write, self._ids.new())]
                decision = imported(state, now, named, self._ids, self._actor, overwrite=self._overwrite)
                outcomes += decision.result
                events += decision.events
                if decision.state is not state:
                    stored.append((write, decision.state.tokens[write.key.kind]))
            await self._store(stored, transaction)
            await append_events(transaction, self._queries, events)
            return Change(outcomes, tuple(events))

        return partial(self._database.transact, work)

    async def _store(self, stored: Sequence[tuple[ImportedWrite, StoredToken]], transaction: Transaction) -> None:
        await transaction.execute_many(self._queries["put_token"], [token_parameters(token) for _, token in stored])
        await schedule_accounts(transaction, self._queries, [(write, write.expires_at) for write, _ in stored])
        uses = [
            {**key_parameters(info.key), "id": info.id.bytes, "used_at": to_micros(info.last_used_at)}
            for info in (token.info for _, token in stored)
            if info.last_used_at is not None
        ]
        await transaction.execute_many(self._queries["record_use"], uses)
