"""Records, counts and turns of OAuth clients."""

from tests.examples.dict_store.database import Port, atomic

from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.clients import StoredClients
from vault_domain.entities.errors import InvalidInputError
from vault_domain.ports.change import Change
from vault_domain.rules.pacing import FREE, Turns, mark_of_tenant, next_turn


class DictClientStates(Port):
    """Implements `ClientStates`."""

    async def records(self, provider=None):
        tables = self._tables
        rows = [row for row in tables.clients.values() if provider in (None, row.scope.provider)]
        return StoredClients(rows, self._clock.now(), max(tables.restorations, default=None))

    @atomic
    def change(self, tables, scope, decide):
        rows = tables.clients
        decision = decide(rows.pop(scope, None), tables.now)
        if decision.record is not None:
            rows[scope] = decision.record
        tables.append(decision.events)
        return decision

    @atomic
    def take_turn(self, tables, provider, client, tenant_id, limit, ahead=FREE):
        key = (provider, client)
        turns = tables.turns.get(key, Turns())
        tables.turns[key], wait = next_turn(turns, mark_of_tenant(tenant_id), tables.now, limit, ahead)
        return wait

    @atomic
    def note_restore(self, tables, since, *, actor):
        restored_at = since or tables.now
        if restored_at > tables.now:
            raise InvalidInputError("since must not lie in the future")
        tables.restorations.add(restored_at)
        event = AuditEvent(AuditAction.DATABASE_RESTORED, tables.now, actor=actor)
        return Change(restored_at, tables.append([event]))
