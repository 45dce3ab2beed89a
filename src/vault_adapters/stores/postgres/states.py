"""Remembers on Postgres which sealed states of authorization requests were used."""

from datetime import UTC, datetime

from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.queries import Queries
from vault_domain.ports.state_ledger import StateUse


class PostgresStateLedger:
    """Implements `StateLedger`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def now(self) -> datetime:
        """Return the time of the store's own clock if it has one, else the database's time."""
        [(now,)] = await self._database.fetch(self._queries["get_time"], {"now": self._database.now()})
        moment: datetime = now.astimezone(UTC)
        return moment

    async def tenant_of(self, data_key_id: bytes) -> str | None:
        """Return the tenant of a data key, or None."""
        rows = await self._database.fetch(self._queries["find_tenant_of_data_key"], {"data_key_id": data_key_id})
        return next((tenant_id for (tenant_id,) in rows), None)

    async def use(self, state_id: bytes, expires_at: datetime) -> StateUse:
        """Record that a state was used, unless it was used before or has expired."""
        parameters = {"state_id": state_id, "expires_at": expires_at, "now": self._database.now()}
        [(is_expired, is_first, _)] = await self._database.write(self._queries["use_state"], parameters)
        if is_expired:
            return StateUse.EXPIRED
        return StateUse.FIRST if is_first else StateUse.USED
