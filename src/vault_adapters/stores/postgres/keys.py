"""The key tables on Postgres."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

from vault_adapters.stores.postgres.cursors import Row
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.rotation import append_key_event
from vault_adapters.stores.queries import Queries
from vault_domain.audit import AuditAction
from vault_domain.errors import KeyUnavailableError, StorageError
from vault_domain.key import DataKeyRecord, DataKeyState, DataKeyWrap, MasterKeyRecord, MasterKeyState

# Each round loses only against an erasure that committed meanwhile.
_ROUNDS = 8


class PostgresKeyRepository:
    """Implements `KeyRepository`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def master_keys(self) -> list[MasterKeyRecord]:
        """Return all master key records."""
        return [_master_key(row) for row in await self._database.fetch(self._queries["list_master_keys"])]

    async def introduce_first_master_key(self, record: MasterKeyRecord) -> list[MasterKeyRecord]:
        """Store the first master key as active, unless there is one; return all records afterwards."""

        async def work(transaction: Transaction) -> list[MasterKeyRecord]:
            stored = await self._locked(transaction)
            [(has_data,)] = await transaction.fetch(self._queries["has_data"])
            if stored or has_data:
                return stored
            await self._insert(transaction, record, MasterKeyState.ACTIVE)
            return await self._all(transaction)

        return await self._database.transact(work)

    async def introduce_master_key(self, record: MasterKeyRecord, known: AbstractSet[bytes]) -> list[MasterKeyRecord]:
        """Store a further master key as unwrap_only, unless one was introduced meanwhile."""

        async def work(transaction: Transaction) -> list[MasterKeyRecord]:
            stored = await self._locked(transaction)
            if any(other.key_id not in known for other in stored):
                return stored
            if await self._insert(transaction, record, MasterKeyState.UNWRAP_ONLY):
                action, code = AuditAction.MASTER_KEY_INTRODUCED, record.key_id.hex()
                await append_key_event(transaction, self._queries, action, None, code=code)
            return await self._all(transaction)

        return await self._database.transact(work)

    async def active_data_key(self, tenant_id: str) -> DataKeyRecord | None:
        """Return the tenant's active data key, or None."""
        query = self._queries["get_active_data_key"]
        return _data_key(await self._database.fetch(query, {"tenant_id": tenant_id}))

    async def data_key(self, tenant_id: str, key_id: bytes) -> DataKeyRecord | None:
        """Return one data key of this tenant."""
        query = self._queries["get_data_key"]
        return _data_key(await self._database.fetch(query, {"tenant_id": tenant_id, "dek_id": key_id}))

    async def create_data_key(self, record: DataKeyRecord) -> DataKeyRecord:
        """Store the tenant's first active data key; return the one that is active."""
        parameters = {
            "tenant_id": record.tenant_id,
            "dek_id": record.key_id,
            "kek_ids": [wrap.master_key_id for wrap in record.wraps],
            "wraps": [wrap.wrapped for wrap in record.wraps],
        }
        for _ in range(_ROUNDS):
            now = self._database.now()
            [(live,)] = await self._database.write(self._queries["create_data_key"], parameters | {"now": now})
            # Whoever was first has committed by now: the insert waits for that.
            active = await self.active_data_key(record.tenant_id)
            if active is not None:
                return active
            if not live:
                raise KeyUnavailableError("the master key was retired meanwhile", reason="retired_master_key")
        raise StorageError("the tenant's data key kept changing; nothing was written", retryable=True)

    async def _locked(self, transaction: Transaction) -> list[MasterKeyRecord]:
        await transaction.execute(self._queries["lock_master_keys"])
        return await self._all(transaction)

    async def _insert(self, transaction: Transaction, record: MasterKeyRecord, state: MasterKeyState) -> bool:
        """Return whether it was stored, or came back from retirement."""
        parameters = _parameters(record, state, transaction.now)
        return await transaction.execute(self._queries["insert_master_key"], parameters) == 1

    async def _all(self, transaction: Transaction) -> list[MasterKeyRecord]:
        return [_master_key(row) for row in await transaction.fetch(self._queries["list_master_keys"])]


def _parameters(record: MasterKeyRecord, state: MasterKeyState, now: datetime | None) -> dict[str, Any]:
    return {
        "kek_id": record.key_id,
        "provider": record.provider,
        "uri": record.uri,
        "kdf": record.kdf,
        "check_value": record.check_value,
        "state": state.value,
        "now": now,
    }


def _master_key(row: Row) -> MasterKeyRecord:
    key_id, provider, uri, kdf, check_value, state, created_at = row
    return MasterKeyRecord(key_id, provider, uri, kdf, check_value, MasterKeyState(state), created_at)


def _data_key(rows: Sequence[Row]) -> DataKeyRecord | None:
    if not rows:
        return None
    tenant_id, key_id, state, swept_at = rows[0][:4]
    wraps = tuple(DataKeyWrap(row[4], row[5]) for row in rows if row[4] is not None)
    return DataKeyRecord(tenant_id, key_id, DataKeyState(state), wraps, swept_at)
