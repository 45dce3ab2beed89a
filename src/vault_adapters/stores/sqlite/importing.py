"""Imports tokens into SQLite. Each transaction reads, then writes; this is safe, because SQLite has one writer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from uuid import UUID

from vault_adapters.stores.import_ids import ImportIds
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.account_states import token_parameters
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import key_parameters, keys_parameter, to_micros, to_time
from vault_adapters.stores.sqlite.writing import require_active_data_keys, schedule_accounts
from vault_adapters.stores.taking import taken
from vault_domain.entities.account import TokenKey, stored_key
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.imported import ImportedWrite, ImportOutcome
from vault_domain.entities.token import StoredToken, TokenInfo
from vault_domain.ports.accounts import StoreBatch
from vault_domain.ports.change import Change
from vault_domain.ports.late_writes import LateWrites
from vault_domain.transitions.events import token_event
from vault_domain.transitions.importing import DAMAGED, Held, info_of, outcome_of

_ID_SIZE = 16


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
            rows = await transaction.fetch(self._queries["get_import_state"], {"keys": keys_parameter(writes.keys)})
            held, now, events = _held(rows), transaction.now, []
            outcomes, stored = [], []
            for write in batch:
                there = held.get(write.key)
                outcome, is_stored = outcome_of(write, there, now, self._ids, overwrite=self._overwrite)
                outcomes.append(outcome)
                if is_stored:
                    info = info_of(write, self._ids.new(), there, now, self._ids)
                    stored.append((write, info))
                    code = None if outcome is ImportOutcome.IMPORTED else "replaced"
                    events.append(token_event(AuditAction.TOKEN_IMPORTED, info, now, self._actor, code))
            await self._store(stored, transaction)
            await append_events(transaction, self._queries, events)
            return Change(outcomes, tuple(events))

        return partial(self._database.transact, work)

    async def _store(self, stored: Sequence[tuple[ImportedWrite, TokenInfo]], transaction: Transaction) -> None:
        tokens = [token_parameters(StoredToken(info, write.sealed)) for write, info in stored]
        await transaction.execute_many(self._queries["put_token"], tokens)
        await schedule_accounts(transaction, self._queries, [(write, write.expires_at) for write, _ in stored])
        uses = [
            {**key_parameters(info.key), "id": info.id.bytes, "used_at": to_micros(info.last_used_at)}
            for _, info in stored
            if info.last_used_at is not None
        ]
        await transaction.execute_many(self._queries["record_use"], uses)


def _held(rows: Sequence[Row]) -> dict[TokenKey, Held]:
    return {
        stored_key(*key): _token(id_, generation, updated_at, refreshed_at)
        for *key, id_, generation, updated_at, refreshed_at in rows
    }


def _token(id_: object, generation: object, updated_at: object, refreshed_at: object) -> Held:
    if type(id_) is bytes and len(id_) == _ID_SIZE and type(generation) is int and type(updated_at) is int:
        with suppress(OverflowError):
            times = [to_time(each) if type(each) is int else None for each in (updated_at, refreshed_at)]
            return Held(UUID(bytes=id_), generation, times[0] or DAMAGED.updated_at, times[1])
    return DAMAGED
