"""Erases tenants on Postgres."""

import secrets
from datetime import datetime

from attrs import astuple

from vault_adapters.stores.postgres.appending import append_events
from vault_adapters.stores.postgres.database import Transaction
from vault_adapters.stores.queries import Queries
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.ports.accounts import Erased
from vault_domain.ports.change import Change

_STEPS = ("delete_tenant_accounts", "delete_tenant_wraps", "empty_tenant_audit_events")
"""The names of the statements after the deletion of the tokens. All transactions lock data keys, tokens and accounts in
this order."""


async def erase_tenant(transaction: Transaction, queries: Queries, tenant_id: str, actor: str | None) -> Change[Erased]:
    """Delete a tenant's rows and wraps and destroy its data keys, in the given transaction."""
    await transaction.fetch(queries["make_commit_durable"])
    parameters = {"tenant_id": tenant_id, "now": transaction.now}
    held = {"tenant_id": tenant_id, "place_holder": secrets.token_bytes(16)}
    await transaction.execute(queries["hold_active_data_key"], held | {"now": transaction.now})
    await transaction.execute(queries["release_active_data_key"], held)
    destroyed: list[AuditEvent] = []
    # Repeat the statement, because a run that waited for a key rotation does not see the new data key that the
    # rotation committed.
    while rows := await transaction.fetch(queries["destroy_tenant_data_keys"], parameters):
        destroyed += [_destroyed(tenant_id, bytes(key_id), now, actor) for key_id, now in sorted(rows)]
    # These events come first, because then a trigger lets go of the events of replacements.
    await append_events(transaction, queries, destroyed)
    [(tokens, accounts, now)] = await transaction.fetch(queries["delete_tenant_tokens"], parameters)
    tenant = {"tenant_id": tenant_id}
    states, wraps, events = [await transaction.execute(queries[step], tenant) for step in _STEPS]
    await transaction.fetch(queries["tell_erasure"], tenant)
    erased = Erased(tokens, accounts, len(destroyed), wraps, events)
    if not (states or any(astuple(erased))):
        return Change(erased)
    event = AuditEvent(AuditAction.TENANT_ERASED, now, tenant_id=tenant_id, actor=actor)
    await append_events(transaction, queries, [event])
    return Change(erased, (*destroyed, event))


def _destroyed(tenant_id: str, key_id: bytes, now: datetime, actor: str | None) -> AuditEvent:
    return AuditEvent(AuditAction.DATA_KEY_DESTROYED, now, tenant_id=tenant_id, actor=actor, code=key_id.hex())
