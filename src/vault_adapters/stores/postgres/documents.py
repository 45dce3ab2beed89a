"""Keeps sealed documents on Postgres."""

from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.queries import Queries
from vault_domain.entities.token import SealedToken


class PostgresDocuments:
    """Implements `Documents`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def get(self, name: bytes) -> SealedToken | None:
        """Return a document; None if there is none."""
        rows = await self._database.fetch(self._queries["get_document"], {"name": name})
        return next((SealedToken(bytes(key), bytes(blob)) for key, blob in rows), None)

    async def put(self, name: bytes, sealed: SealedToken) -> None:
        """Keep a document in place of another."""
        parameters = {"name": name, "data_key_id": sealed.data_key_id, "blob": sealed.blob}
        await self._database.write(self._queries["put_document"], parameters)
