"""Stores master keys and data keys on SQLite."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from vault_adapters.stores.damage import data_key_of_row, master_key_of_row, sound
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import to_micros, to_time
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.key_records import DataKeyRecord, MasterKeyRecord
from vault_domain.ports.key_rotation import no_active_master_key


class SqliteKeyRepository:
    """Implements `KeyRepository`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def master_keys(self) -> list[MasterKeyRecord]:
        """Return all master key records."""
        return sound(await self._database.fetch(self._queries["list_master_keys"]), master_key_record)

    async def introduce_first_master_key(self, record: MasterKeyRecord) -> list[MasterKeyRecord]:
        """Store the first master key as active, unless a master key, data key or token exists; return all records."""

        async def work(transaction: Transaction) -> list[MasterKeyRecord]:
            await transaction.execute(self._queries["insert_first_master_key"], _parameters(record, transaction))
            return await self._all(transaction)

        return await self._database.transact(work)

    async def introduce_master_key(self, record: MasterKeyRecord, known: AbstractSet[bytes]) -> list[MasterKeyRecord]:
        """Store a further master key as unwrap_only if ``known`` holds all stored master keys; return all records."""

        async def work(transaction: Transaction) -> list[MasterKeyRecord]:
            if all(stored.key_id in known for stored in await self._all(transaction)):
                await self._introduce(transaction, record)
            return await self._all(transaction)

        return await self._database.transact(work)

    async def active_data_key(self, tenant_id: str) -> DataKeyRecord | None:
        """Return the tenant's active data key, or None."""
        query = self._queries["get_active_data_key"]
        return data_key_record(await self._database.fetch(query, {"tenant_id": tenant_id}))

    async def data_key(self, tenant_id: str, key_id: bytes) -> DataKeyRecord | None:
        """Return one data key of this tenant."""
        query = self._queries["get_data_key"]
        return data_key_record(await self._database.fetch(query, {"tenant_id": tenant_id, "data_key_id": key_id}))

    async def create_data_key(self, record: DataKeyRecord) -> DataKeyRecord:
        """Store an active data key, unless the tenant has one; return the tenant's active data key."""

        async def work(transaction: Transaction) -> DataKeyRecord:
            query, parameters = self._queries["get_active_data_key"], {"tenant_id": record.tenant_id}
            active = data_key_record(await transaction.fetch(query, parameters))
            if active is None:
                await insert_data_key(transaction, self._queries, record)
                active = data_key_record(await transaction.fetch(query, parameters))
            return active or record

        return await self._database.transact(work)

    async def _introduce(self, transaction: Transaction, record: MasterKeyRecord) -> None:
        if await transaction.execute(self._queries["upsert_master_key"], _parameters(record, transaction)):
            action, code = AuditAction.MASTER_KEY_INTRODUCED, record.key_id.hex()
            await append_events(transaction, self._queries, [AuditEvent(action, transaction.now, code=code)])

    async def _all(self, transaction: Transaction) -> list[MasterKeyRecord]:
        return sound(await transaction.fetch(self._queries["list_master_keys"]), master_key_record)


async def insert_data_key(transaction: Transaction, queries: Queries, record: DataKeyRecord) -> None:
    """Store an active data key with its wrap under the active master key; leave out all other wraps.

    Raises:
        KeyUnavailableError: the active master key does not wrap the data key.
    """
    active = {key_id for (key_id,) in await transaction.fetch(queries["find_active_master_key"])}
    wraps = [wrap for wrap in record.wraps if wrap.master_key_id in active]
    if not wraps:
        raise no_active_master_key()
    parameters = {"tenant_id": record.tenant_id, "data_key_id": record.key_id, "now": to_micros(transaction.now)}
    await transaction.execute(queries["insert_data_key"], parameters)
    await transaction.execute_many(
        queries["insert_data_key_wrap"],
        [{**parameters, "master_key_id": wrap.master_key_id, "wrapped": wrap.wrapped} for wrap in wraps],
    )


def _parameters(record: MasterKeyRecord, transaction: Transaction) -> dict[str, Any]:
    return {
        "master_key_id": record.key_id,
        "provider": record.provider,
        "uri": record.uri,
        "kdf": record.kdf,
        "check_value": record.check_value,
        "now": to_micros(transaction.now),
    }


def master_key_record(row: Row) -> MasterKeyRecord:
    """Return the master key of a row."""
    key_id, provider, uri, kdf, check_value, state, created_at, confirmed = row
    return master_key_of_row(key_id, provider, uri, kdf, check_value, state, to_time(created_at), confirmed)


def data_key_position(row: Row) -> tuple[str, bytes]:
    """Return the tenant and the id of the data key that a row belongs to."""
    tenant_id, key_id, *_ = row
    return tenant_id, key_id


def data_key_record(rows: Sequence[Row]) -> DataKeyRecord | None:
    """Return the data key from the rows of its wraps; None if there are no rows, or if they are damaged."""
    return next(iter(sound([rows], data_key_of_rows)), None) if rows else None


def data_key_of_rows(rows: Sequence[Row]) -> DataKeyRecord:
    """Return the data key from the rows of its wraps.

    Raises:
        Exception: the rows are damaged.
    """
    [(tenant_id, key_id, state, emptied_at, confirmed, *_), *_] = rows
    wraps = [(master_key_id, wrapped) for *_, master_key_id, wrapped in rows]
    return data_key_of_row(tenant_id, key_id, state, to_time(emptied_at), confirmed, wraps)
