"""Used states, and the care of the database on Postgres."""

from datetime import datetime

from vault_adapters.stores.migrations import load_migrations
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.queries import Queries
from vault_domain.entities.errors import SchemaOutdatedError, StorageError
from vault_domain.ports.upkeep import StateUse

_KNOWN = len(load_migrations("vault_adapters.stores.postgres"))

_NO_TABLE, _NO_SCHEMA = "42P01", "3F000"


class PostgresUpkeep:
    """Implements `Upkeep`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def ping(self) -> None:
        """Begin a transaction that may write, and count the applied migrations.

        Migrations of a newer release are ignored, so that older processes go on while a release is rolled out.

        Raises:
            StorageError: the database does not answer, or takes no writes.
            SchemaOutdatedError: migrations of this release are missing.
        """

        async def work(transaction: Transaction) -> int:
            [(applied,)] = await transaction.fetch(self._queries["count_migrations"], {"known": _KNOWN})
            return int(applied)

        try:
            applied = await self._database.transact(work, hasty=True)
        except StorageError as error:
            if error.reason not in (_NO_TABLE, _NO_SCHEMA):
                raise
            applied = 0
        if applied < _KNOWN:
            raise SchemaOutdatedError

    async def use_state(self, state_id: bytes, expires_at: datetime) -> StateUse:
        """Record that a state was used, unless it was used before or has expired."""
        parameters = {"state_id": state_id, "expires_at": expires_at, "now": self._database.now()}
        [(is_expired, is_first, _)] = await self._database.write(self._queries["use_state"], parameters)
        if is_expired:
            return StateUse.EXPIRED
        return StateUse.FIRST if is_first else StateUse.USED
