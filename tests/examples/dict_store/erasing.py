"""Erasing a tenant."""

from attrs import evolve
from tests.examples.dict_store.database import Port, atomic

from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.key_records import DataKeyState
from vault_domain.ports.change import Change
from vault_domain.ports.tenant_eraser import Erased

_KEPT = (AuditAction.TENANT_ERASED, AuditAction.DATA_KEY_DESTROYED)


class DictTenantEraser(Port):
    """Implements `TenantEraser`."""

    @atomic
    def erase(self, transaction, tenant_id, *, actor):
        tables = transaction.tables
        accounts = len({key.account for key in tables.tokens if key.tenant_id == tenant_id})
        tokens = _pop_all(tables.tokens, tenant_id)
        _pop_all(tables.accounts, tenant_id)
        _pop_all(tables.unread, tenant_id)
        keys = [record for (owner, _), record in tables.data_keys.items() if owner == tenant_id]
        alive = [record for record in keys if record.state is not DataKeyState.DESTROYED]
        for record in alive:
            destroyed = evolve(record, state=DataKeyState.DESTROYED, wraps=())
            tables.data_keys[tenant_id, record.key_id] = destroyed
        wraps = sum(len(record.wraps) for record in keys)
        erased = Erased(tokens, accounts, len(alive), wraps, _forget(tables.events, tenant_id))
        if erased == Erased(0, 0, 0, 0, 0):
            return Change(erased)
        event = AuditEvent(AuditAction.TENANT_ERASED, transaction.now, tenant_id=tenant_id, actor=actor)
        action = AuditAction.DATA_KEY_DESTROYED
        events = (*(evolve(event, action=action, code=record.key_id.hex()) for record in alive), event)
        transaction.append(events)
        return Change(erased, events)

    async def purge(self):
        """Return None, because there are no files to clean."""


def _pop_all(table, tenant_id):
    doomed = [key for key in table if key.tenant_id == tenant_id]
    for key in doomed:
        del table[key]
    return len(doomed)


def _forget(events, tenant_id):
    """Remove tenant and account from the tenant's events, except those of erasures and destroyed keys."""
    emptied = 0
    for number, event in enumerate(events):
        if event is not None and event.tenant_id == tenant_id and event.action not in _KEPT:
            events[number] = evolve(event, tenant_id=None, account=None)
            emptied += 1
    return emptied
