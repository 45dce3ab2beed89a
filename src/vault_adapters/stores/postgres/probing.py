"""Asks the database whether it can be used now."""

from __future__ import annotations

from vault_adapters.stores.migrations import load_migrations
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.queries import Queries
from vault_domain.entities.errors import SchemaOutdatedError, StorageError

_KNOWN = len(load_migrations("vault_adapters.stores.postgres"))

_NO_TABLE, _NO_SCHEMA = "42P01", "3F000"


async def probe(database: PostgresDatabase, queries: Queries) -> None:
    """Begin a transaction that may write, and count the applied migrations.

    Migrations of a newer release are ignored, so that older processes go on while a release is rolled out.

    Raises:
        StorageError: the database does not answer, or takes no writes.
        SchemaOutdatedError: migrations of this release are missing.
    """

    async def work(transaction: Transaction) -> int:
        [(applied,)] = await transaction.fetch(queries["count_migrations"], {"known": _KNOWN})
        return int(applied)

    try:
        applied = await database.transact(work, hasty=True)
    except StorageError as error:
        if error.reason not in (_NO_TABLE, _NO_SCHEMA):
            raise
        applied = 0
    if applied < _KNOWN:
        raise SchemaOutdatedError
