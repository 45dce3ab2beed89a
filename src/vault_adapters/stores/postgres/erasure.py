"""Erases tenants on Postgres."""

from datetime import datetime

from vault_adapters.stores.postgres.audit import append_key_event
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.limits import Pace
from vault_adapters.stores.queries import Queries
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.ports.change import Change
from vault_domain.ports.tenant_eraser import Erased

# All transactions take locks in the same order: data keys, tokens, accounts. `erase` locks the data keys before it runs
# these steps.
_STEPS = {
    "tokens": "delete_tenant_tokens",
    "accounts": "delete_tenant_accounts",
    "wraps": "delete_tenant_wraps",
    "audit_events": "empty_tenant_audit_events",
}


class PostgresTenantEraser:
    """Implements `TenantEraser`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def erase(self, tenant_id: str, *, actor: str | None) -> Change[Erased]:
        """Delete a tenant's rows and wraps and destroy its data keys, in one transaction."""

        async def work(transaction: Transaction) -> Change[Erased]:
            await transaction.fetch(self._queries["make_commit_durable"])
            parameters = {"tenant_id": tenant_id, "actor": actor, "now": transaction.now}
            destroyed: list[AuditEvent] = []
            # Repeat the statement, because a run that waited for a key rotation does not see the new data key that the
            # rotation committed.
            while rows := await transaction.fetch(self._queries["destroy_tenant_data_keys"], parameters):
                destroyed += [_destroyed(tenant_id, bytes(key_id), now, actor) for key_id, now in rows]
            tenant = {"tenant_id": tenant_id}
            [(accounts,)] = await transaction.fetch(self._queries["count_tenant_accounts"], tenant)
            counts = {"data_keys": len(destroyed)}
            for name, query in _STEPS.items():
                counts[name] = await transaction.execute(self._queries[query], tenant)
            await transaction.fetch(self._queries["tell_erasure"], tenant)
            is_empty = not any(counts.values())
            counts["accounts"] = accounts
            if is_empty:
                return Change(Erased(**counts))
            action = AuditAction.TENANT_ERASED
            event = await append_key_event(transaction, self._queries, action, actor, tenant_id=tenant_id)
            return Change(Erased(**counts), (*destroyed, event))

        return await self._database.transact(work, pace=Pace.BULK)

    async def purge(self) -> None:
        """Do nothing, because only the server's VACUUM and WAL recycling remove deleted rows from its files."""


def _destroyed(tenant_id: str, key_id: bytes, now: datetime, actor: str | None) -> AuditEvent:
    return AuditEvent(AuditAction.DATA_KEY_DESTROYED, now, tenant_id=tenant_id, actor=actor, code=key_id.hex())
