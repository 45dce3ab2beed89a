"""The audit log on Postgres. Each SQL statement that changes a token also appends its event."""

from datetime import datetime

from vault_adapters.stores.postgres.cursors import Row, int8
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.page import Cursor, encode_cursor


def token_event(
    action: AuditAction,
    key: TokenKey,
    generation: int,
    occurred_at: datetime,
    actor: str | None,
    code: str | None = None,
) -> AuditEvent:
    """Return the event that a statement appended for one token."""
    return AuditEvent(
        action,
        occurred_at,
        tenant_id=key.tenant_id,
        account=key.account,
        kind=key.kind,
        generation=generation,
        actor=actor,
        code=code,
    )


class PostgresAuditLog:
    """Implements `AuditLog`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def page(self, tenant_id: str | None, *, limit: int, after: Cursor | None) -> list[AuditEvent]:
        """Return events in commit order."""
        xid, seq = after or (0, 0)
        parameters = {"after_xid": str(max(int(xid), 0)), "after_seq": int8(int(seq)), "limit": int8(limit)}
        if tenant_id is None:
            rows = await self._database.fetch(self._queries["list_audit_events"], parameters)
        else:
            parameters["tenant_id"] = tenant_id
            rows = await self._database.fetch(self._queries["list_tenant_audit_events"], parameters)
        return [_event(row) for row in rows]


def _event(row: Row) -> AuditEvent:
    xid, seq, action, occurred_at, tenant_id, provider, identifier, kind, generation, actor, code = row
    return AuditEvent(
        AuditAction(action),
        occurred_at,
        tenant_id=tenant_id,
        account=Account(tenant_id, provider, identifier) if tenant_id and provider else None,
        kind=TokenKind(kind) if kind else None,
        generation=generation,
        actor=actor,
        code=code,
        cursor=encode_cursor((int(xid), seq)),
    )
