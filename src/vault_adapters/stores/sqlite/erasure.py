"""Erases tenants on SQLite."""

from attrs import astuple, evolve

from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import Transaction
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.ports.accounts import Erased
from vault_domain.ports.change import Change

_STEPS = (
    "delete_tenant_tokens",
    "delete_tenant_accounts",
    "delete_tenant_wraps",
    "empty_tenant_audit_events",
)
"""The names of the statements, in their order."""


async def erase_tenant(transaction: Transaction, queries: Queries, tenant_id: str, actor: str | None) -> Change[Erased]:
    """Delete a tenant's rows and wraps and destroy its data keys, in the given transaction."""
    parameters = {"tenant_id": tenant_id}
    data_keys = await transaction.fetch(queries["destroy_tenant_data_keys"], parameters)
    event = AuditEvent(AuditAction.TENANT_ERASED, transaction.now, tenant_id=tenant_id, actor=actor)
    destroyed = evolve(event, action=AuditAction.DATA_KEY_DESTROYED)
    key_ids = sorted(key_id for (key_id,) in data_keys if type(key_id) is bytes)  # a damaged row may hold anything
    # These events come before the steps, because then a trigger lets go of the events of replacements.
    confirming = tuple(evolve(destroyed, code=key_id.hex()) for key_id in key_ids)
    await append_events(transaction, queries, confirming)
    [(accounts,)] = await transaction.fetch(queries["count_tenant_accounts"], parameters)
    tokens, rows, wraps, events = [await transaction.execute(queries[step], parameters) for step in _STEPS]
    erased = Erased(tokens, accounts, len(data_keys), wraps, events)
    if not (rows or any(astuple(erased))):
        return Change(erased)
    await append_events(transaction, queries, (event,))
    return Change(erased, (*confirming, event))
