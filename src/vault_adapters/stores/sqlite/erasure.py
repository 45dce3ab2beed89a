"""Erases tenants on SQLite."""

from attrs import evolve

from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import SqliteDatabase, Transaction
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.ports.change import Change
from vault_domain.ports.tenant_eraser import Erased

_STEPS = (
    "delete_tenant_tokens",
    "delete_tenant_accounts",
    "destroy_tenant_data_keys",
    "delete_tenant_wraps",
    "empty_tenant_audit_events",
)
"""The names of the statements, in the order of the fields of `Erased`."""


class SqliteTenantEraser:
    """Implements `TenantEraser`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def erase(self, tenant_id: str, *, actor: str | None) -> Change[Erased]:
        """Delete a tenant's rows and wraps and destroy its data keys, in one transaction."""

        async def work(transaction: Transaction) -> Change[Erased]:
            parameters = {"tenant_id": tenant_id}
            data_keys = await transaction.fetch(self._queries["find_tenant_data_keys"], parameters)
            event = AuditEvent(AuditAction.TENANT_ERASED, transaction.now, tenant_id=tenant_id, actor=actor)
            destroyed = evolve(event, action=AuditAction.DATA_KEY_DESTROYED)
            key_ids = [key_id for (key_id,) in data_keys if type(key_id) is bytes]  # a damaged row may hold anything
            # These events come first, because then a trigger lets go of the events of replacements.
            confirming = tuple(evolve(destroyed, code=key_id.hex()) for key_id in key_ids)
            await append_events(transaction, self._queries, confirming)
            [(accounts,)] = await transaction.fetch(self._queries["count_tenant_accounts"], parameters)
            counts = [await transaction.execute(self._queries[step], parameters) for step in _STEPS]
            is_empty = not any(counts)
            counts[_STEPS.index("delete_tenant_accounts")] = accounts
            if is_empty:
                return Change(Erased(*counts))
            await append_events(transaction, self._queries, (event,))
            return Change(Erased(*counts), (*confirming, event))

        return await self._database.transact(work)

    async def purge(self) -> bool:
        """Move the write-ahead log into the database file, and empty the log.

        The log holds earlier versions of the deleted rows. It also holds the zeros with which ``secure_delete`` has
        overwritten these rows; this call brings the zeros into the database file.
        """
        return await self._database.checkpoint()
