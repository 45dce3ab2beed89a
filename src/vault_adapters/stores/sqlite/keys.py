"""Implements `Keys` on SQLite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from vault_adapters.stores.damage import data_key_of_row, master_key_of_row, sound, sound_page
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.rows import key_parameters, to_micros, to_time
from vault_domain.entities.key_records import DataKeyState
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.rules.key_states import may_wrap

if TYPE_CHECKING:
    from vault_adapters.stores.queries import Queries
    from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
    from vault_domain.entities.account import TokenKey
    from vault_domain.entities.audit import AuditEvent
    from vault_domain.entities.key_decisions import KeyDecision, MasterKeySet
    from vault_domain.entities.key_records import DataKeyRecord, MasterKeyRecord
    from vault_domain.ports.keys import (
        DataKeyPosition,
        DataKeyQuery,
        DecideDataKey,
        DecideMasterKeys,
        DecideWrapped,
        KeyCounts,
        PlacedWrap,
        Resealed,
        SealedRow,
    )

CHANGED_AT_ONCE = 1000
"""Largest number of data keys to change in one transaction."""

_NO_WRAP = {"replaced": None, "master_key_id": None, "wrapped": None}


class SqliteKeys:
    """Implements `Keys`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def master_keys(self) -> list[MasterKeyRecord]:
        """Return all master key records."""
        return sound(await self._database.fetch(self._queries["list_master_keys"]), master_key_record)

    async def change_master_keys(self, decide: DecideMasterKeys) -> Change[list[MasterKeyRecord]]:
        """Load all master keys, decide, and write those that differ with the events; return all records."""
        from vault_adapters.stores.key_reads import master_key_changes

        async def work(transaction: Transaction) -> Change[list[MasterKeyRecord]]:
            before = await self._load(transaction)
            decision = decide(before, transaction.now)
            if decision.state is before:
                return Change(list(before.records))
            changed = master_key_changes(before, decision.state, to_micros)
            await transaction.execute_many(self._queries["put_master_key"], changed)
            await append_events(transaction, self._queries, decision.events)
            rows = await transaction.fetch(self._queries["list_master_keys"])
            return Change(sound(rows, master_key_record), decision.events)

        return await self._database.transact(work)

    async def data_key(self, tenant_id: str, key_id: bytes | None) -> DataKeyRecord | None:
        """Return one data key of this tenant, or None."""
        return await self._get(self._database, tenant_id, key_id)

    async def create_data_key(self, record: DataKeyRecord) -> DataKeyRecord:
        """Store an active data key, unless the tenant has one; return the tenant's active data key."""
        from vault_domain.transitions.keys import created

        async def work(transaction: Transaction) -> DataKeyRecord:
            active = await self._get(transaction, record.tenant_id, None)
            if active is not None:
                return active
            new = created(await self._masters(transaction), record)
            await self._insert(transaction, new)
            return new

        return await self._database.transact(work)

    async def change_data_key(
        self, tenant_id: str, key_id: bytes, decide: DecideWrapped
    ) -> Change[DataKeyRecord | None]:
        """Load a data key, decide, and write it with its wraps, a new data key and the events."""

        async def work(transaction: Transaction) -> Change[DataKeyRecord | None]:
            stored = await self._get(transaction, tenant_id, key_id)
            if stored is None:
                return Change(None)
            decision = decide(stored, await self._masters(transaction), transaction.now)
            if decision.state is stored:
                return Change(stored)
            await self._put(transaction, [decision.state], decision.events)
            if decision.state.wraps != stored.wraps:
                await self._wrap(transaction, decision.state)
            if decision.new is not None:
                await self._insert(transaction, decision.new)
            return Change(decision.new or decision.state, decision.events)

        return await self._database.transact(work)

    async def data_keys(self, query: DataKeyQuery, after: DataKeyPosition | None, limit: int) -> list[DataKeyRecord]:
        """Return a page of data keys, sorted by tenant and id."""

        from vault_adapters.stores.key_reads import query_parameters

        async def fetch(position: DataKeyPosition | None, wanted: int) -> list[list[Row]]:
            return _grouped(await self._fetch("list_data_keys", query_parameters(query, position, wanted)))

        return await sound_page(fetch, data_key_of_rows, lambda rows: _position(rows[0]), after, limit)

    async def change_data_keys(self, query: DataKeyQuery, decide: DecideDataKey) -> Change[int]:
        """Decide about each data key of a query, page by page, and write those that differ."""
        from vault_adapters.stores.key_reads import query_parameters

        events: list[AuditEvent] = []
        after: DataKeyPosition | None = None
        count = 0

        async def change_page(transaction: Transaction) -> tuple[list[list[Row]], list[KeyDecision[DataKeyRecord]]]:
            parameters = query_parameters(query, after, CHANGED_AT_ONCE, with_use=True)
            page = _grouped(await self._fetch("list_data_keys", parameters, transaction))
            found = sound(page, _use_of_rows)
            decisions = [(record, decide(record, transaction.now, is_used)) for record, is_used in found]
            changed = [decision for record, decision in decisions if decision.state is not record]
            told = [event for decision in changed for event in decision.events]
            await self._put(transaction, [decision.state for decision in changed], told)
            return page, changed

        is_end = False
        while not is_end:
            page, changed = await self._database.transact(change_page)
            count += len(changed)
            events += [event for decision in changed for event in decision.events]
            is_end = len(page) < CHANGED_AT_ONCE
            after = after if is_end else _position(page[-1][0])
        return Change(count, tuple(events))

    async def key_counts(self, tenant_id: str | None = None, min_age: timedelta | None = None) -> KeyCounts:
        """Count the keys of all tenants or of one, and those that are to be rotated."""
        from vault_adapters.stores.key_reads import count_keys

        return await count_keys(self._fetch, tenant_id, min_age)

    async def rows_to_reseal(self, tenant_id: str | None, after: TokenKey | None, limit: int) -> list[SealedRow]:
        """Return tokens under decrypt_only data keys, sorted by token key."""
        from vault_adapters.stores.key_reads import rows_to_reseal

        return await rows_to_reseal(self._fetch, tenant_id, after, limit)

    async def reseal(self, rows: Sequence[Resealed]) -> int:
        """For each of ``rows``: if the stored value is still exactly ``before``, replace it with ``after``."""
        data_keys = {(row.key.tenant_id, row.after.data_key_id.hex().upper()) for row in rows}
        guard = {"data_keys": json.dumps(sorted(data_keys))}
        parameters = [
            {
                **key_parameters(row.key),
                "data_key_id": row.after.data_key_id,
                "blob": row.after.blob,
                "extra": row.after.extra,
                "before_data_key_id": row.before.data_key_id,
                "before": row.before.blob,
            }
            for row in rows
        ]

        async def work(transaction: Transaction) -> int:
            [(inactive,)] = await transaction.fetch(self._queries["count_inactive_data_keys"], guard)
            if inactive:
                raise DataKeyInactiveError
            return await transaction.execute_many(self._queries["reseal_token"], parameters)

        return await self._database.transact(work)

    async def change_wraps(self, wraps: Sequence[PlacedWrap], *, replaced: bytes | None = None) -> int:
        """Store missing wraps under the active master key, or delete those that they replace."""
        query = self._queries["add_wrap" if replaced is None else "delete_wraps"]

        async def work(transaction: Transaction) -> int:
            usable = {master.key_id for master in await self._masters(transaction) if may_wrap(master)} - {replaced}
            own = [placed for placed in wraps if placed.wrap.master_key_id in usable]
            parameters = [_wrap_parameters(placed) | {"replaced": replaced} for placed in own]
            return await transaction.execute_many(query, parameters)

        return await self._database.transact(work)

    async def _get(
        self, source: SqliteDatabase | Transaction, tenant_id: str, key_id: bytes | None
    ) -> DataKeyRecord | None:
        parameters = {"tenant_id": tenant_id, "data_key_id": key_id}
        return data_key_record(await source.fetch(self._queries["get_data_key"], parameters))

    async def _insert(self, transaction: Transaction, new: DataKeyRecord) -> None:
        place = {"tenant_id": new.tenant_id, "data_key_id": new.key_id, "now": to_micros(transaction.now)}
        await transaction.execute(self._queries["insert_data_key"], place)
        await self._wrap(transaction, new)

    async def _wrap(self, transaction: Transaction, record: DataKeyRecord) -> None:
        """Put a data key's wraps in the place of those that are stored."""
        place = {"tenant_id": record.tenant_id, "data_key_id": record.key_id}
        await transaction.execute(self._queries["delete_wraps"], place | _NO_WRAP)
        wraps = [place | {"master_key_id": wrap.master_key_id, "wrapped": wrap.wrapped} for wrap in record.wraps]
        await transaction.execute_many(self._queries["add_wrap"], wraps)

    async def _put(
        self, transaction: Transaction, records: Sequence[DataKeyRecord], events: Sequence[AuditEvent]
    ) -> None:
        """Store data keys, delete the wraps of destroyed ones, and append events."""
        rows = [
            {
                "tenant_id": record.tenant_id,
                "data_key_id": record.key_id,
                "state": record.state.value,
                "emptied_at": to_micros(record.emptied_at),
            }
            for record in records
        ]
        await transaction.execute_many(self._queries["put_data_key"], rows)
        ended = [each | _NO_WRAP for each in rows if each["state"] == DataKeyState.DESTROYED]
        await transaction.execute_many(self._queries["delete_wraps"], ended)
        await append_events(transaction, self._queries, events)

    async def _fetch(
        self, name: str, parameters: dict[str, Any], source: SqliteDatabase | Transaction | None = None
    ) -> list[Row]:
        own = parameters | {"now": to_micros(self._database.now())}
        return await (source or self._database).fetch(self._queries.narrowed(name, own), own)

    async def _masters(self, transaction: Transaction) -> list[MasterKeyRecord]:
        return sound(await transaction.fetch(self._queries["list_master_keys"]), master_key_record)

    async def _load(self, transaction: Transaction) -> MasterKeySet:
        from vault_adapters.stores.key_reads import master_key_set

        rows = await transaction.fetch(self._queries["list_master_keys"])
        [(has_data,)] = await transaction.fetch(self._queries["has_data"])
        wraps = await transaction.fetch(self._queries["count_wraps"], {"tenant_id": None}) if rows else []
        return master_key_set(rows, master_key_record, wraps, has_data=has_data)


def _wrap_parameters(placed: PlacedWrap) -> dict[str, Any]:
    return {
        "tenant_id": placed.tenant_id,
        "data_key_id": placed.data_key_id,
        "master_key_id": placed.wrap.master_key_id,
        "wrapped": placed.wrap.wrapped,
    }


def master_key_record(row: Row) -> MasterKeyRecord:
    """Return the master key of a row."""
    key_id, provider, uri, kdf, check_value, state, created_at, action, activated = row
    return master_key_of_row(key_id, provider, uri, kdf, check_value, state, to_time(created_at), action, activated)


def data_key_record(rows: Sequence[Row]) -> DataKeyRecord | None:
    """Return the data key from the rows of its wraps; None if there are no rows, or if they are damaged."""
    return next(iter(sound([rows], data_key_of_rows)), None) if rows else None


def data_key_of_rows(rows: Sequence[Row]) -> DataKeyRecord:
    """Return the data key from the rows of its wraps.

    Raises:
        Exception: the rows are damaged.
    """
    [(tenant_id, key_id, state, emptied_at, action, *_), *_] = rows
    wraps = [(master_key_id, wrapped) for *_, master_key_id, wrapped in rows]
    return data_key_of_row(tenant_id, key_id, state, to_time(emptied_at), action, wraps)


def _use_of_rows(rows: Sequence[Row]) -> tuple[DataKeyRecord, bool]:
    [(*_, is_used, _, _), *_] = rows
    return data_key_of_rows(rows), bool(is_used)


def _position(row: Row) -> DataKeyPosition:
    tenant_id, key_id, *_ = row
    return tenant_id, key_id


def _grouped(rows: Sequence[Row]) -> list[list[Row]]:
    return [list(group) for _, group in groupby(rows, key=_position)]
