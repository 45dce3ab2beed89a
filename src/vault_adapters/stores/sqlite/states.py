"""Remembers on SQLite which sealed states of authorization requests were used."""

from datetime import datetime

from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.database import SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import to_micros
from vault_domain.ports.state_ledger import StateUse


class SqliteStateLedger:
    """Implements `StateLedger`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def now(self) -> datetime:
        """Return the store's time."""
        return self._database.now()

    async def tenant_of(self, data_key_id: bytes) -> str | None:
        """Return the tenant of a data key, or None."""
        rows = await self._database.fetch(self._queries["find_tenant_of_data_key"], {"data_key_id": data_key_id})
        return next((tenant_id for (tenant_id,) in rows), None)

    async def use(self, state_id: bytes, expires_at: datetime) -> StateUse:
        """Record that a state was used, unless it was used before or has expired."""

        async def work(transaction: Transaction) -> StateUse:
            await transaction.execute(self._queries["delete_expired_states"], {"now": to_micros(transaction.now)})
            if expires_at <= transaction.now:
                return StateUse.EXPIRED
            parameters = {"state_id": state_id, "expires_at": to_micros(expires_at)}
            is_first = await transaction.execute(self._queries["use_state"], parameters) == 1
            return StateUse.FIRST if is_first else StateUse.USED

        return await self._database.transact(work)
