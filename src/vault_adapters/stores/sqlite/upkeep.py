"""Used states, and the care of the database on SQLite."""

from datetime import datetime

from vault_adapters.stores.migrations import load_migrations
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.database import SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import to_micros
from vault_domain.entities.errors import SchemaOutdatedError, StorageError
from vault_domain.ports.upkeep import StateUse

_KNOWN = len(load_migrations("vault_adapters.stores.sqlite"))
_NO_TABLE = "sqlite_error"
"""The reason of the error if a table is missing; some other errors have this reason too."""


class SqliteUpkeep:
    """Implements `Upkeep`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def ping(self) -> None:
        """Return normally if the database answers, has the schema, and this process may write its file.

        It writes nothing, because a write would wait for other writers.
        """
        try:
            [(applied,)] = await self._database.fetch(self._queries["count_migrations"], {"known": _KNOWN})
        except StorageError as error:
            if error.reason != _NO_TABLE:
                raise
            applied = 0
        if applied < _KNOWN:
            raise SchemaOutdatedError
        self._database.check_writable()

    async def use_state(self, state_id: bytes, expires_at: datetime) -> StateUse:
        """Record that a state was used, unless it was used before or has expired."""

        async def work(transaction: Transaction) -> StateUse:
            await transaction.execute(self._queries["delete_expired_states"], {"now": to_micros(transaction.now)})
            if expires_at <= transaction.now:
                return StateUse.EXPIRED
            parameters = {"state_id": state_id, "expires_at": to_micros(expires_at)}
            is_first = await transaction.execute(self._queries["use_state"], parameters) == 1
            return StateUse.FIRST if is_first else StateUse.USED

        return await self._database.transact(work)
