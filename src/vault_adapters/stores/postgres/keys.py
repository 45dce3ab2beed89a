"""Stores master keys and data keys on Postgres."""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from typing import Any

from vault_adapters.stores.batching import ReadBatcher
from vault_adapters.stores.damage import sound
from vault_adapters.stores.postgres.citus_keys import DataKeyReads
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.key_rotation import append_key_event, is_wrapped_by
from vault_adapters.stores.postgres.key_rows import data_key_record, data_keys_parameters, master_key_record
from vault_adapters.stores.postgres.limits import Pace
from vault_adapters.stores.postgres.readers import Reader
from vault_adapters.stores.queries import Queries
from vault_domain.entities.errors import StorageError
from vault_domain.entities.key_decisions import MasterKeySet
from vault_domain.entities.key_records import DataKeyRecord, MasterKeyRecord, MasterKeyState
from vault_domain.ports.change import Change
from vault_domain.ports.key_repository import DecideMasterKeys
from vault_domain.ports.key_rotation import DataKeyPosition, no_active_master_key

# Creating a data key takes a further round only if an erasure destroyed the new data key before it was read.
_ROUNDS = 8


class PostgresKeyRepository:
    """Implements `KeyRepository`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries
        self._distributed = DataKeyReads(queries)
        # Reads and creations go in batches, because a bulk write or a sweep asks for many tenants' data keys at once.
        most = database.most_connections
        self._active = ReadBatcher(partial(database.reading, self._read_active), most_batches=most)
        self._by_id = ReadBatcher(partial(database.reading, self._read_by_id), most_batches=most)
        self._creations = ReadBatcher(lambda: nullcontext(self._create), most_batches=most)

    async def master_keys(self) -> list[MasterKeyRecord]:
        """Return all master key records."""
        return sound(await self._database.fetch(self._queries["list_master_keys"]), master_key_record)

    async def change_master_keys(self, decide: DecideMasterKeys) -> Change[list[MasterKeyRecord]]:
        """Load all master keys, decide, and write those that differ with the events; return all records."""

        async def work(transaction: Transaction) -> Change[list[MasterKeyRecord]]:
            await transaction.execute(self._queries["lock_master_keys"])
            # Only these statements see what was committed while the one above waited.
            before, now = await self._load(transaction)
            decision = decide(before, now)
            if decision.state is before:
                return Change(list(before.records))
            # There is only one active master key at any time, so the one that was active is written first.
            changed = [record for record in decision.state.records if record is not before.get(record.key_id)]
            for record in sorted(changed, key=lambda record: record.state is MasterKeyState.ACTIVE):
                await transaction.execute(self._queries["put_master_key"], _parameters(record))
            for event in decision.events:
                await append_key_event(transaction, self._queries, event.action, event.actor, code=event.code)
            return Change(await self._all(transaction), decision.events)

        return await self._database.transact(work, pace=Pace.BULK)

    async def active_data_key(self, tenant_id: str) -> DataKeyRecord | None:
        """Return the tenant's active data key, or None."""
        return await self._active.get(tenant_id)

    async def data_key(self, tenant_id: str, key_id: bytes) -> DataKeyRecord | None:
        """Return one data key of this tenant, or None."""
        return await self._by_id.get((tenant_id, key_id))

    async def create_data_key(self, record: DataKeyRecord) -> DataKeyRecord:
        """Store an active data key, unless the tenant has one; return the tenant's active data key."""
        for _ in range(_ROUNDS):
            usable = await self._creations.get(record)
            # The insert in `_create` has waited for other transactions that create a data key of this tenant. So the
            # data key of one of them, or the new one, is committed.
            active = await self.active_data_key(record.tenant_id)
            if active is not None:
                return active
            if not usable:
                raise no_active_master_key()
        raise StorageError("the tenant's data key kept changing; nothing was written", retryable=True)

    async def close(self) -> None:
        """Wait until no read and no creation is running."""
        for batcher in (self._creations, self._active, self._by_id):
            await batcher.drain()

    async def _read_active(self, reader: Reader, tenant_ids: Sequence[str]) -> list[DataKeyRecord | None]:
        wanted = list(set(tenant_ids))
        if self._database.is_distributed:
            rows = await self._distributed.active(reader, wanted)
        else:
            rows = await reader.fetch(self._queries["get_active_data_keys"], {"tenant_ids": wanted})
        found = {record.tenant_id: record for record in sound(rows, data_key_record)}
        return [found.get(tenant_id) for tenant_id in tenant_ids]

    async def _read_by_id(self, reader: Reader, positions: Sequence[DataKeyPosition]) -> list[DataKeyRecord | None]:
        wanted = list(set(positions))
        if self._database.is_distributed:
            rows = await self._distributed.by_id(reader, wanted)
        else:
            parameters = {
                "tenant_ids": [tenant_id for tenant_id, _ in wanted],
                "data_key_ids": [key_id for _, key_id in wanted],
            }
            rows = await reader.fetch(self._queries["get_data_keys"], parameters)
        found = {(record.tenant_id, record.key_id): record for record in sound(rows, data_key_record)}
        return [found.get(position) for position in positions]

    async def _create(self, records: Sequence[DataKeyRecord]) -> list[bool]:
        """Store new data keys in one transaction; return for each data key whether the active master key wraps it."""
        parameters = data_keys_parameters(records) | {"now": self._database.now()}
        active = await self._database.write(self._queries["create_data_keys"], parameters)
        return [is_wrapped_by(record, active) for record in records]

    async def _load(self, transaction: Transaction) -> tuple[MasterKeySet, datetime]:
        rows = await transaction.fetch(self._queries["list_master_keys"])
        [(has_data, now)] = await transaction.fetch(self._queries["has_data"], {"now": transaction.now})
        wraps = await transaction.fetch(self._queries["count_wraps"], {"tenant_id": None}) if rows else []
        in_use = frozenset(bytes(key_id) for key_id, _ in wraps)
        is_new = not (rows or has_data)  # a damaged row counts
        return MasterKeySet(tuple(sound(rows, master_key_record)), in_use, is_new), now

    async def _all(self, transaction: Transaction) -> list[MasterKeyRecord]:
        return sound(await transaction.fetch(self._queries["list_master_keys"]), master_key_record)


def _parameters(record: MasterKeyRecord) -> dict[str, Any]:
    return {
        "master_key_id": record.key_id,
        "provider": record.provider,
        "uri": record.uri,
        "kdf": record.kdf,
        "check_value": record.check_value,
        "state": record.state.value,
        "created_at": record.created_at,
    }
