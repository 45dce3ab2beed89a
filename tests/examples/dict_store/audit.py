"""The audit log."""

from attrs import evolve

from vault_domain.entities.page import encode_cursor


class DictAuditLog:
    """Implements `AuditLog`. There is one writer, so the events' numbers are in the order of the commits."""

    def __init__(self, database, clock):
        self._database = database

    async def page(self, tenant_id, *, limit, after):
        behind = max(0 if after is None else after[1], 0)
        events = enumerate(self._database.tables.events, start=1)
        found = [
            evolve(event, cursor=encode_cursor((0, number)))
            for number, event in events
            if number > behind and tenant_id in (None, event.tenant_id)
        ]
        return found[:limit]
