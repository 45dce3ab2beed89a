"""Erases tenants on Postgres."""

from datetime import datetime
from typing import Any

from vault_adapters.stores.postgres.appending import append_events
from vault_adapters.stores.postgres.database import Transaction
from vault_adapters.stores.queries import Queries
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.ports.accounts import Erased
from vault_domain.ports.change import Change

# All transactions take locks in the same order: data keys, tokens, accounts. `erase_tenant` locks the data keys before
# these steps.
_STEPS = {
    "tokens": "delete_tenant_tokens",
    "accounts": "delete_tenant_accounts",
    "wraps": "delete_tenant_wraps",
    "audit_events": "empty_tenant_audit_events",
}


async def erase_tenant(transaction: Transaction, queries: Queries, tenant_id: str, actor: str | None) -> Change[Erased]:
    """Delete a tenant's rows and wraps and destroy its data keys, in the given transaction."""
    await transaction.fetch(queries["make_commit_durable"])
    parameters = {"tenant_id": tenant_id, "now": transaction.now}
    destroyed: list[AuditEvent] = []
    # Repeat the statement, because a run that waited for a key rotation does not see the new data key that the
    # rotation committed.
    while rows := await transaction.fetch(queries["destroy_tenant_data_keys"], parameters):
        destroyed += [_destroyed(tenant_id, bytes(key_id), now, actor) for key_id, now in sorted(rows)]
    # These events come first, because then a trigger lets go of the events of replacements.
    await append_events(transaction, queries, destroyed)
    tenant = {"tenant_id": tenant_id}
    [(accounts, now)] = await transaction.fetch(queries["count_tenant_accounts"], parameters)
    counts: dict[str, Any] = {"data_keys": len(destroyed)}
    for name, query in _STEPS.items():
        counts[name] = await transaction.execute(queries[query], tenant)
    await transaction.fetch(queries["tell_erasure"], tenant)
    is_empty = not any(counts.values())
    counts["accounts"] = accounts
    if is_empty:
        return Change(Erased(**counts))
    event = AuditEvent(AuditAction.TENANT_ERASED, now, tenant_id=tenant_id, actor=actor)
    await append_events(transaction, queries, [event])
    return Change(Erased(**counts), (*destroyed, event))


def _destroyed(tenant_id: str, key_id: bytes, now: datetime, actor: str | None) -> AuditEvent:
    return AuditEvent(AuditAction.DATA_KEY_DESTROYED, now, tenant_id=tenant_id, actor=actor, code=key_id.hex())
