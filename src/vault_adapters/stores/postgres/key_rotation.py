"""Key rotation on Postgres: changes states of keys, and replaces values and wraps."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from vault_adapters.stores.damage import place_of_key, row_to_reseal, sound, sound_page
from vault_adapters.stores.postgres.cursors import Row, int8
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.key_rows import (
    data_key_position,
    data_key_record,
    data_keys_parameters,
)
from vault_adapters.stores.postgres.limits import Pace
from vault_adapters.stores.postgres.rows import (
    key_columns,
    keys_parameters,
    micros,
)
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import TokenKey
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.key_rotation import (
    DataKeyPosition,
    KeyCounts,
    PlacedWrap,
    Resealed,
    SealedRow,
    no_active_master_key,
)

DESTROYED_AT_ONCE = 1000
"""Largest number of data keys to destroy in one transaction."""


class PostgresKeyRotation:
    """Implements `KeyRotationRepository`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def key_counts(self, tenant_id: str | None = None) -> KeyCounts:
        """Count the keys of all tenants or of one."""
        parameters = {"tenant_id": tenant_id}
        states: dict[str, int] = dict(
            await self._database.fetch(self._queries["count_data_keys"], parameters, pace=Pace.BULK)
        )
        wraps: dict[bytes, int] = dict(
            await self._database.fetch(self._queries["count_wraps"], parameters, pace=Pace.BULK)
        )
        [(tokens,)] = await self._database.fetch(self._queries["count_rows_to_reseal"], parameters, pace=Pace.BULK)
        [(resurrected,)] = await self._database.fetch(
            self._queries["count_resurrected_data_keys"], parameters, pace=Pace.BULK
        )
        active, decrypt_only, destroyed = (states.get(state.value, 0) for state in DataKeyState)
        return KeyCounts(wraps, active, decrypt_only, destroyed, tokens, resurrected)

    async def count_data_keys_to_rotate(self, age: timedelta) -> int:
        """Count the active data keys that are at least ``age`` old."""
        parameters = {"age": micros(age), "now": self._database.now()}
        [(count,)] = await self._database.fetch(self._queries["count_data_keys_to_rotate"], parameters, pace=Pace.BULK)
        return int(count)

    async def count_tokens_to_rotate(self, age: timedelta, tenant_id: str | None = None) -> int:
        """Count the tokens, of all tenants or of one, under active data keys that are at least ``age`` old."""
        parameters = {"age": micros(age), "now": self._database.now(), "tenant_id": tenant_id}
        [(count,)] = await self._database.fetch(self._queries["count_tokens_to_rotate"], parameters, pace=Pace.BULK)
        return int(count)

    async def data_keys_to_rotate(self, age: timedelta, after: str, limit: int) -> list[DataKeyPosition]:
        """Return at most ``limit`` active data keys, at least ``age`` old, of the tenants after ``after``."""
        parameters = {"age": micros(age), "now": self._database.now(), "after": after, "limit": int8(limit)}
        rows = await self._database.fetch(self._queries["find_data_keys_to_rotate"], parameters, pace=Pace.BULK)
        return [(tenant_id, key_id) for tenant_id, key_id in rows]

    async def replace_active_data_key(
        self, replaced: bytes, record: DataKeyRecord, *, actor: str | None
    ) -> Change[DataKeyRecord | None]:
        """Store a new active data key and make the replaced one decrypt_only."""

        async def work(transaction: Transaction) -> Change[DataKeyRecord | None]:
            parameters = {"tenant_id": record.tenant_id, "replaced": replaced}
            events: tuple[AuditEvent, ...] = ()
            if await transaction.execute(self._queries["demote_data_key"], parameters):
                await self._insert(transaction, record)
                append = partial(append_key_event, transaction, self._queries, actor=actor, tenant_id=record.tenant_id)
                events = (
                    await append(AuditAction.DATA_KEY_REPLACED, code=replaced.hex()),
                    await append(AuditAction.DATA_KEY_ROTATED, code=record.key_id.hex()),
                )
            wanted: dict[str, Any] = {"tenant_ids": [record.tenant_id]}
            if transaction.is_distributed:
                usable = await transaction.fetch(self._queries["list_usable_master_keys"])
                wanted = {"tenant_id": record.tenant_id, "master_key_ids": [key_id for (key_id,) in usable]}
            rows = await transaction.fetch(self._queries["get_active_data_keys"], wanted)
            return Change(next(iter(sound(rows, data_key_record)), None), events)

        return await self._database.transact(work, pace=Pace.BULK)

    async def rows_to_reseal(self, tenant_id: str | None, after: TokenKey | None, limit: int) -> list[SealedRow]:
        """Return tokens under decrypt_only data keys, sorted by token key."""

        async def fetch(position: tuple[Any, ...], wanted: int) -> list[Row]:
            after_tenant_id, after_provider, after_identifier, after_kind = position
            parameters = {
                "after_provider": after_provider,
                "after_kind": after_kind,
                "after_identifier": after_identifier,
                "limit": int8(wanted),
            }
            if tenant_id is None:
                parameters["after_tenant_id"] = after_tenant_id
                return await self._database.fetch(self._queries["find_rows_to_reseal"], parameters, pace=Pace.BULK)
            parameters["tenant_id"] = tenant_id
            return await self._database.fetch(self._queries["find_tenant_rows_to_reseal"], parameters, pace=Pace.BULK)

        start = ("", "", "", "") if after is None else key_columns(after)
        return await sound_page(fetch, lambda row: row_to_reseal(row, tenant_id), place_of_key, start, limit)

    async def reseal(self, rows: Sequence[Resealed]) -> int:
        """For each of ``rows``: if the stored value is still exactly ``before``, replace it with ``after``."""
        parameters = keys_parameters(row.key for row in rows) | {
            "before_data_key_ids": [row.before.data_key_id for row in rows],
            "before_blobs": [row.before.blob for row in rows],
            "data_key_ids": [row.after.data_key_id for row in rows],
            "blobs": [row.after.blob for row in rows],
            "extras": [row.after.extra for row in rows],
        }
        [(guarded, resealed)] = await self._database.write(self._queries["reseal_tokens"], parameters, pace=Pace.BULK)
        if guarded < len(rows):
            raise DataKeyInactiveError
        return int(resealed)

    async def mark_emptied(self, tenant_id: str | None) -> int:
        """Set `emptied_at` on decrypt_only data keys that no token uses."""
        return await self._database.transact(
            lambda transaction: transaction.execute(
                self._queries["mark_emptied"], {"tenant_id": tenant_id, "now": transaction.now}
            ),
            pace=Pace.BULK,
        )

    async def destroy_emptied(self, tenant_id: str | None, age: timedelta, *, actor: str | None) -> Change[int]:
        """Destroy data keys that were emptied at least ``age`` ago: delete their wraps, keep tombstones."""
        parameters = {"tenant_id": tenant_id, "age": micros(age), "actor": actor, "limit": int8(DESTROYED_AT_ONCE)}
        action = AuditAction.DATA_KEY_DESTROYED
        events: list[AuditEvent] = []
        is_end = False
        while not is_end:
            parameters["now"] = self._database.now()
            rows = await self._database.write(self._queries["destroy_emptied_data_keys"], parameters, pace=Pace.BULK)
            events += [
                AuditEvent(action, now, tenant_id=owner, actor=actor, code=bytes(key_id).hex())
                for owner, key_id, now in rows
                if now is not None
            ]
            is_end = len(rows) < DESTROYED_AT_ONCE
        return Change(len(events), tuple(events))

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
        [(added,)] = await self._database.write(self._queries["add_wraps"], _wraps_parameters(wraps), pace=Pace.BULK)
        return int(added)

    async def delete_wraps(self, master_key_id: bytes, kept: Sequence[PlacedWrap]) -> int:
        """Delete wraps under ``master_key_id``, each if its data key's other wrap, in ``kept``, is stored unchanged."""
        parameters = _wraps_parameters(kept) | {"replaced": master_key_id}
        [(deleted,)] = await self._database.write(self._queries["delete_wraps"], parameters, pace=Pace.BULK)
        return int(deleted)

    async def _insert(self, transaction: Transaction, record: DataKeyRecord) -> None:
        parameters = data_keys_parameters([record]) | {"now": transaction.now}
        if not is_wrapped_by(record, await transaction.fetch(self._queries["create_data_keys"], parameters)):
            raise no_active_master_key()

    async def _page(
        self, query: str, master_key_id: bytes, after: DataKeyPosition | None, limit: int
    ) -> list[DataKeyRecord]:
        async def fetch(position: DataKeyPosition, wanted: int) -> list[Row]:
            after_tenant_id, after_data_key_id = position
            parameters = {
                "master_key_id": master_key_id,
                "after_tenant_id": after_tenant_id,
                "after_data_key_id": after_data_key_id,
                "limit": int8(wanted),
            }
            return await self._database.fetch(self._queries[query], parameters, pace=Pace.BULK)

        return await sound_page(fetch, data_key_record, data_key_position, after or ("", b""), limit)


async def append_key_event(
    transaction: Transaction,
    queries: Queries,
    action: AuditAction,
    actor: str | None,
    *,
    tenant_id: str | None = None,
    code: str | None = None,
) -> AuditEvent:
    """Append an event about a key or a tenant in the transaction of the change; return the event."""
    parameters = {"tenant_id": tenant_id, "action": action.value, "actor": actor, "code": code, "now": transaction.now}
    [(now,)] = await transaction.fetch(queries["append_key_event"], parameters)
    return AuditEvent(action, now, tenant_id=tenant_id, actor=actor, code=code)


def is_wrapped_by(record: DataKeyRecord, master_keys: Sequence[Row]) -> bool:
    """Return whether one of the master keys wraps this data key. Each row of ``master_keys`` holds one id."""
    ids = {master_key_id for (master_key_id,) in master_keys}
    return any(wrap.master_key_id in ids for wrap in record.wraps)


def _wraps_parameters(wraps: Sequence[PlacedWrap]) -> dict[str, Any]:
    return {
        "tenant_ids": [placed.tenant_id for placed in wraps],
        "data_key_ids": [placed.data_key_id for placed in wraps],
        "master_key_ids": [placed.wrap.master_key_id for placed in wraps],
        "wraps": [placed.wrap.wrapped for placed in wraps],
    }
