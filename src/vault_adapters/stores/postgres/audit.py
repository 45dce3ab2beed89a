"""The audit log on Postgres. Each SQL statement that changes a token also appends its event."""

from datetime import datetime

from vault_adapters.stores.damage import WrongRowError, sound_page
from vault_adapters.stores.postgres.cursors import Row, int8
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.audit import CLIENT_ACTIONS, AuditAction, AuditEvent
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
        """Return events by place and number; see ``audit_place`` in the first migration."""
        xid, seq = after or (0, 0)

        async def fetch(position: tuple[int, int], wanted: int) -> list[Row]:
            after_xid, after_seq = position
            parameters = {"after_xid": str(max(after_xid, 0)), "after_seq": int8(after_seq), "limit": int8(wanted)}
            if tenant_id is None:
                return await self._database.fetch(self._queries["list_audit_events"], parameters)
            parameters["tenant_id"] = tenant_id
            return await self._database.fetch(self._queries["list_tenant_audit_events"], parameters)

        start = int(xid), int(seq)
        return await sound_page(fetch, lambda row: _event(row, tenant_id), _place, start, limit)


def _place(row: Row) -> tuple[int, int]:
    xid, seq, *_ = row
    return int(xid), seq


def _event(row: Row, asked: str | None) -> AuditEvent:
    """Return the event of a row.

    Raises:
        Exception: the row is damaged or belongs to another tenant, or its action is that of a newer release.
    """
    xid, seq, action, occurred_at, tenant_id, provider, identifier, kind, generation, actor, code, other = row
    if asked is not None and tenant_id != asked:
        raise WrongRowError
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
        provider=provider if action in CLIENT_ACTIONS else None,
        credential_generation=other,
    )
