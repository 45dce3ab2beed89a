"""Master keys and data keys."""

from attrs import evolve

from vault_domain.entities.audit import AuditAction
from vault_domain.entities.key_decisions import MasterKeySet
from vault_domain.entities.key_records import DataKeyState, MasterKeyState
from vault_domain.ports.change import Change
from vault_domain.ports.key_rotation import no_active_master_key
from vault_domain.rules.key_states import is_resurrected_master_key


class DictKeyRepository:
    """Implements `KeyRepository`."""

    def __init__(self, database, clock):
        self._database, self._clock = database, clock

    async def master_keys(self):
        return master_keys(self._database.tables)

    async def change_master_keys(self, decide):
        def work(transaction):
            tables = transaction.tables
            is_new = not (tables.master_keys or tables.data_keys or tables.tokens)
            in_use = {wrap.master_key_id for record in tables.data_keys.values() for wrap in record.wraps}
            before = MasterKeySet(tuple(master_keys(tables)), frozenset(in_use), is_new)
            decision = decide(before, transaction.now)
            tables.master_keys = {record.key_id: record for record in decision.state.records}
            transaction.append(decision.events)
            return Change(master_keys(tables), decision.events)

        return await self._database.transact(work, self._clock)

    async def active_data_key(self, tenant_id):
        return active_data_key(self._database.tables, tenant_id)

    async def data_key(self, tenant_id, key_id):
        record = self._database.tables.data_keys.get((tenant_id, key_id))
        return record and confirmed(self._database.tables, record)

    async def create_data_key(self, record):
        def work(transaction):
            if active_data_key(transaction.tables, record.tenant_id) is None:
                insert_data_key(transaction, record)
            return active_data_key(transaction.tables, record.tenant_id)

        return await self._database.transact(work, self._clock)


def active_data_key(tables, tenant_id):
    for (owner, _), record in tables.data_keys.items():
        if owner == tenant_id and record.state is DataKeyState.ACTIVE:
            return confirmed(tables, record)
    return None


def confirmed(tables, record):
    """Return a data key with the state that the audit log confirms."""
    code = record.key_id.hex()
    events = {(event.action, event.tenant_id) for event in tables.events if event is not None and event.code == code}
    if not events and record.confirmed is None:
        return record
    states = {
        AuditAction.DATA_KEY_DESTROYED: DataKeyState.DESTROYED,
        AuditAction.DATA_KEY_REPLACED: DataKeyState.DECRYPT_ONLY,
    }
    found = (state for action, state in states.items() if (action, record.tenant_id) in events)
    return evolve(record, confirmed=next(found, None))


def master_keys(tables):
    """Return all master keys, each with the state that the audit log confirms."""
    events = [
        (event.action, event.code)
        for event in tables.events
        if event is not None and event.action.startswith("master_key")
    ]
    activated = [code for action, code in events if action is AuditAction.MASTER_KEY_ACTIVATED]
    return [
        evolve(key, confirmed=_confirmed(key.key_id.hex(), events, activated)) for key in tables.master_keys.values()
    ]


def _confirmed(code, events, activated):
    own = [action for action, named in events if named == code]
    if own and own[-1] is AuditAction.MASTER_KEY_RETIRED:
        return MasterKeyState.RETIRED
    if activated and activated[-1] == code:
        return MasterKeyState.ACTIVE
    return MasterKeyState.UNWRAP_ONLY if own or activated else None


def insert_data_key(transaction, record):
    """Store an active data key with its wrap under the active master key."""
    wraps = tuple(wrap for wrap in record.wraps if is_active(transaction.tables, wrap.master_key_id))
    if not wraps:
        raise no_active_master_key()
    place = (record.tenant_id, record.key_id)
    transaction.tables.data_keys[place] = evolve(record, state=DataKeyState.ACTIVE, wraps=wraps)
    transaction.tables.data_key_times[place] = transaction.now


def is_active(tables, master_key_id):
    return any(
        key.key_id == master_key_id and key.state is MasterKeyState.ACTIVE and not is_resurrected_master_key(key)
        for key in master_keys(tables)
    )
