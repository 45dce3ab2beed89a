"""Key rotation on SQLite: changes states of keys, and replaces values and wraps."""

import json
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any

from vault_adapters.stores.damage import place_of_key, row_to_reseal, sound_page
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.keys import (
    data_key_of_rows,
    data_key_position,
    data_key_record,
    insert_data_key,
)
from vault_adapters.stores.sqlite.rows import key_parameters, to_micros
from vault_domain.entities.account import TokenKey
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.key_rotation import DataKeyPosition, KeyCounts, PlacedWrap, Resealed, SealedRow

DESTROYED_AT_ONCE = 1000
"""Largest number of data keys to destroy in one transaction."""


class SqliteKeyRotation:
    """Implements `KeyRotationRepository`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def key_counts(self, tenant_id: str | None = None) -> KeyCounts:
        """Count the keys of all tenants or of one."""
        parameters = {"tenant_id": tenant_id}
        states: dict[str, int] = dict(await self._database.fetch(self._queries["count_data_keys"], parameters))
        wraps: dict[bytes, int] = dict(await self._database.fetch(self._queries["count_wraps"], parameters))
        [(tokens,)] = await self._database.fetch(self._queries["count_rows_to_reseal"], parameters)
        [(resurrected,)] = await self._database.fetch(self._queries["count_resurrected_data_keys"], parameters)
        active, decrypt_only, destroyed = (states.get(state.value, 0) for state in DataKeyState)
        return KeyCounts(wraps, active, decrypt_only, destroyed, tokens, resurrected)

    async def count_data_keys_to_rotate(self, age: timedelta) -> int:
        """Count the active data keys that are at least ``age`` old."""
        parameters = {"until": to_micros(self._database.now() - age)}
        [(count,)] = await self._database.fetch(self._queries["count_data_keys_to_rotate"], parameters)
        return int(count)

    async def count_tokens_to_rotate(self, age: timedelta, tenant_id: str | None = None) -> int:
        """Count the tokens, of all tenants or of one, under active data keys that are at least ``age`` old."""
        parameters = {"until": to_micros(self._database.now() - age), "tenant_id": tenant_id}
        [(count,)] = await self._database.fetch(self._queries["count_tokens_to_rotate"], parameters)
        return int(count)

    async def data_keys_to_rotate(self, age: timedelta, after: str, limit: int) -> list[DataKeyPosition]:
        """Return the active data keys that are at least ``age`` old, for the tenants that come after ``after``."""
        parameters = {"until": to_micros(self._database.now() - age), "after": after, "limit": limit}
        rows = await self._database.fetch(self._queries["find_data_keys_to_rotate"], parameters)
        return [(tenant_id, key_id) for tenant_id, key_id in rows]

    async def replace_active_data_key(
        self, replaced: bytes, record: DataKeyRecord, *, actor: str | None
    ) -> Change[DataKeyRecord | None]:
        """Store a new active data key and make the replaced one decrypt_only; return the tenant's active data key."""

        async def work(transaction: Transaction) -> Change[DataKeyRecord | None]:
            parameters = {"tenant_id": record.tenant_id, "replaced": replaced}
            events: tuple[AuditEvent, ...] = ()
            if await transaction.execute(self._queries["demote_data_key"], parameters):
                await insert_data_key(transaction, self._queries, record)
                changes = {AuditAction.DATA_KEY_REPLACED: replaced, AuditAction.DATA_KEY_ROTATED: record.key_id}
                events = tuple(
                    AuditEvent(action, transaction.now, tenant_id=record.tenant_id, actor=actor, code=key_id.hex())
                    for action, key_id in changes.items()
                )
                await append_events(transaction, self._queries, events)
            return Change(
                data_key_record(await transaction.fetch(self._queries["get_active_data_key"], parameters)), events
            )

        return await self._database.transact(work)

    async def rows_to_reseal(self, tenant_id: str | None, after: TokenKey | None, limit: int) -> list[SealedRow]:
        """Return tokens under decrypt_only data keys, sorted by token key."""
        query = self._queries["find_rows_to_reseal" if tenant_id is None else "find_tenant_rows_to_reseal"]

        async def fetch(position: tuple[Any, ...], wanted: int) -> list[Row]:
            after_tenant_id, after_provider, after_identifier, after_kind = position
            parameters = {
                "tenant_id": tenant_id,
                "after_tenant_id": after_tenant_id,
                "after_provider": after_provider,
                "after_kind": after_kind,
                "after_identifier": after_identifier,
                "limit": wanted,
            }
            return await self._database.fetch(query, parameters)

        start = ("", "", "", "")
        if after is not None:
            start = (after.tenant_id, after.provider, after.identifier or "", after.kind.value)
        return await sound_page(fetch, lambda row: row_to_reseal(row, tenant_id), place_of_key, start, limit)

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

    async def mark_emptied(self, tenant_id: str | None) -> int:
        """Set `emptied_at` on decrypt_only data keys that no token uses."""
        return await self._database.transact(
            lambda transaction: transaction.execute(
                self._queries["mark_emptied"], {"tenant_id": tenant_id, "now": to_micros(transaction.now)}
            )
        )

    async def destroy_emptied(self, tenant_id: str | None, age: timedelta, *, actor: str | None) -> Change[int]:
        """Destroy data keys that were emptied at least ``age`` ago: delete their wraps, keep tombstones."""
        events: list[AuditEvent] = []
        is_end = False
        while not is_end:
            destroyed, is_end = await self._destroy_page(tenant_id, age, actor)
            events += destroyed
        return Change(len(events), tuple(events))

    async def _destroy_page(
        self, tenant_id: str | None, age: timedelta, actor: str | None
    ) -> tuple[list[AuditEvent], bool]:
        """Destroy one page of emptied data keys; return the events, and whether it was the last page."""

        async def work(transaction: Transaction) -> tuple[list[AuditEvent], bool]:
            until = to_micros(transaction.now - age)
            parameters = {"tenant_id": tenant_id, "until": until, "limit": DESTROYED_AT_ONCE}
            events = []
            emptied = await transaction.fetch(self._queries["find_emptied"], parameters)
            for owner, key_id, in_use in emptied:
                place = {"tenant_id": owner, "data_key_id": key_id}
                if in_use:
                    await transaction.execute(self._queries["clear_emptied"], place)
                    continue
                await transaction.execute(self._queries["delete_data_key_wraps"], place)
                await transaction.execute(self._queries["destroy_data_key"], place)
                action = AuditAction.DATA_KEY_DESTROYED
                events.append(
                    AuditEvent(action, transaction.now, tenant_id=owner, actor=actor, code=bytes(key_id).hex())
                )
            await append_events(transaction, self._queries, events)
            return events, len(emptied) < DESTROYED_AT_ONCE

        return await self._database.transact(work)

    async def data_keys_without_wrap(
        self, master_key_id: bytes, after: DataKeyPosition | None, limit: int
    ) -> list[DataKeyRecord]:
        """Return data keys that are not destroyed and that this master key does not wrap."""
        return await self._page("find_data_keys_without_wrap", master_key_id, after, limit)

    async def data_keys_with_wrap(
        self, master_key_id: bytes, after: DataKeyPosition | None, limit: int
    ) -> list[DataKeyRecord]:
        """Return data keys that this master key wraps, with all their wraps."""
        return await self._page("find_data_keys_with_wrap", master_key_id, after, limit)

    async def add_wraps(self, wraps: Sequence[PlacedWrap]) -> int:
        """Store missing wraps of data keys; return the number of stored wraps."""
        parameters = [_wrap_parameters(placed) for placed in wraps]
        return await self._database.transact(
            lambda transaction: transaction.execute_many(self._queries["add_wrap"], parameters)
        )

    async def delete_wraps(self, master_key_id: bytes, kept: Sequence[PlacedWrap]) -> int:
        """Delete wraps under ``master_key_id``, each if its data key's other wrap, in ``kept``, is stored unchanged."""
        parameters = [_wrap_parameters(placed) | {"replaced": master_key_id} for placed in kept]
        return await self._database.transact(
            lambda transaction: transaction.execute_many(self._queries["delete_wrap"], parameters)
        )

    async def _page(
        self, query: str, master_key_id: bytes, after: DataKeyPosition | None, limit: int
    ) -> list[DataKeyRecord]:
        async def fetch(position: DataKeyPosition, wanted: int) -> list[list[Row]]:
            after_tenant_id, after_data_key_id = position
            parameters = {
                "master_key_id": master_key_id,
                "after_tenant_id": after_tenant_id,
                "after_data_key_id": after_data_key_id,
                "limit": wanted,
            }
            rows = await self._database.fetch(self._queries[query], parameters)
            return [list(group) for _, group in groupby(rows, key=data_key_position)]

        start = after or ("", b"")
        return await sound_page(fetch, data_key_of_rows, lambda rows: data_key_position(rows[-1]), start, limit)


def _wrap_parameters(placed: PlacedWrap) -> dict[str, Any]:
    return {
        "tenant_id": placed.tenant_id,
        "data_key_id": placed.data_key_id,
        "master_key_id": placed.wrap.master_key_id,
        "wrapped": placed.wrap.wrapped,
    }
