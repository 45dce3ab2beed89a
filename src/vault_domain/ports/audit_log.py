"""AuditLog: reads audit events in pages. Each mutation appends its events in its own transaction."""

from typing import Protocol

from vault_domain.entities.audit import AuditEvent
from vault_domain.entities.page import Cursor


class AuditLog(Protocol):
    """Reads the audit events."""

    async def page(self, tenant_id: str | None, *, limit: int, after: Cursor | None) -> list[AuditEvent]:
        """Return events in a lasting order; each event carries its cursor, which has two integers.

        Events of one key come in the order of its generations. Events of different keys come in the order of their
        commits, except for transactions that ran at the same time.

        Callers of the vault never see this cursor, because its numbers may reveal how many events other tenants have.
        The vault seals it.

        A page ends before the oldest transaction that may still add events. So a caller who follows the cursors misses
        no event.
        """
