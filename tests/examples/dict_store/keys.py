"""Master keys and data keys."""

from attrs import evolve

from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.errors import KeyUnavailableError
from vault_domain.entities.key_records import DataKeyState, MasterKeyState


class DictKeyRepository:
    """Implements `KeyRepository`."""

    def __init__(self, database, clock):
        self._database, self._clock = database, clock

    async def master_keys(self):
        return list(self._database.tables.master_keys.values())

    async def introduce_first_master_key(self, record):
        def work(transaction):
            tables = transaction.tables
            if not (tables.master_keys or tables.data_keys or tables.tokens):
                _put(transaction, record, MasterKeyState.ACTIVE)
            return list(tables.master_keys.values())

        return await self._database.transact(work, self._clock)

    async def introduce_master_key(self, record, known):
        def work(transaction):
            keys = transaction.tables.master_keys
            there = keys.get(record.key_id)
            if set(keys) <= set(known) and (there is None or there.state is MasterKeyState.RETIRED):
                _put(transaction, there or record, MasterKeyState.UNWRAP_ONLY)
                action = AuditAction.MASTER_KEY_INTRODUCED
                transaction.append([AuditEvent(action, transaction.now, code=record.key_id.hex())])
            return list(keys.values())

        return await self._database.transact(work, self._clock)

    async def active_data_key(self, tenant_id):
        return active_data_key(self._database.tables, tenant_id)

    async def data_key(self, tenant_id, key_id):
        return self._database.tables.data_keys.get((tenant_id, key_id))

    async def create_data_key(self, record):
        def work(transaction):
            if active_data_key(transaction.tables, record.tenant_id) is None:
                insert_data_key(transaction, record)
            return active_data_key(transaction.tables, record.tenant_id)

        return await self._database.transact(work, self._clock)


def active_data_key(tables, tenant_id):
    for (owner, _), record in tables.data_keys.items():
        if owner == tenant_id and record.state is DataKeyState.ACTIVE:
            return record
    return None


def insert_data_key(transaction, record):
    """Store an active data key with those of its wraps whose master key is not retired."""
    keys = transaction.tables.master_keys
    wraps = tuple(wrap for wrap in record.wraps if is_live(keys.get(wrap.master_key_id)))
    if not wraps:
        raise KeyUnavailableError("the master key was retired meanwhile", reason="retired_master_key")
    place = (record.tenant_id, record.key_id)
    transaction.tables.data_keys[place] = evolve(record, state=DataKeyState.ACTIVE, wraps=wraps)
    transaction.tables.data_key_times[place] = transaction.now


def is_live(record):
    return record is not None and record.state is not MasterKeyState.RETIRED


def _put(transaction, record, state):
    created_at = record.created_at or transaction.now
    transaction.tables.master_keys[record.key_id] = evolve(record, state=state, created_at=created_at)
