"""AuditLog: pages through what happened. Appending is part of each mutation's own transaction."""

from typing import Protocol

from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.page import Cursor


class AuditLog(Protocol):
    """Reads the audit events."""

    async def page(self, tenant_id: str | None, *, limit: int, after: Cursor | None) -> list[AuditEvent]:
        """Return events in the order of their commits; each carries its cursor, of two integers.

        A page ends before the oldest transaction that still runs, so that following the cursors misses none.
        """
