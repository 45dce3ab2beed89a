"""Stores master keys and data keys on SQLite."""

from collections.abc import Sequence
from typing import Any

from vault_adapters.stores.damage import data_key_of_row, master_key_of_row, sound
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import to_micros, to_time
from vault_domain.entities.key_decisions import MasterKeySet
from vault_domain.entities.key_records import DataKeyRecord, MasterKeyRecord, MasterKeyState
from vault_domain.ports.change import Change
from vault_domain.ports.key_repository import DecideMasterKeys
from vault_domain.ports.key_rotation import no_active_master_key


class SqliteKeyRepository:
    """Implements `KeyRepository`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def master_keys(self) -> list[MasterKeyRecord]:
        """Return all master key records."""
        return sound(await self._database.fetch(self._queries["list_master_keys"]), master_key_record)

    async def change_master_keys(self, decide: DecideMasterKeys) -> Change[list[MasterKeyRecord]]:
        """Load all master keys, decide, and write those that differ with the events; return all records."""

        async def work(transaction: Transaction) -> Change[list[MasterKeyRecord]]:
            before = await self._load(transaction)
            decision = decide(before, transaction.now)
            if decision.state is before:
                return Change(list(before.records))
            # There is only one active master key at any time, so the one that was active is written first.
            changed = [record for record in decision.state.records if record is not before.get(record.key_id)]
            changed.sort(key=lambda record: record.state is MasterKeyState.ACTIVE)
            await transaction.execute_many(self._queries["put_master_key"], [_parameters(record) for record in changed])
            await append_events(transaction, self._queries, decision.events)
            rows = await transaction.fetch(self._queries["list_master_keys"])
            return Change(sound(rows, master_key_record), decision.events)

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

    async def _load(self, transaction: Transaction) -> MasterKeySet:
        rows = await transaction.fetch(self._queries["list_master_keys"])
        [(has_data,)] = await transaction.fetch(self._queries["has_data"])
        wraps = await transaction.fetch(self._queries["count_wraps"], {"tenant_id": None}) if rows else []
        in_use = frozenset(key_id for key_id, _ in wraps)
        is_new = not (rows or has_data)  # a damaged row counts
        return MasterKeySet(tuple(sound(rows, master_key_record)), in_use, is_new)


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


def _parameters(record: MasterKeyRecord) -> dict[str, Any]:
    return {
        "master_key_id": record.key_id,
        "provider": record.provider,
        "uri": record.uri,
        "kdf": record.kdf,
        "check_value": record.check_value,
        "state": record.state.value,
        "created_at": to_micros(record.created_at),
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
