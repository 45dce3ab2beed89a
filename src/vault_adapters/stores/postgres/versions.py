"""The version of a stored token: a number that tells whether its row is still the one that a process remembers."""

from vault_adapters.stores.postgres.account_columns import BINARY_HASH, TEXT_HASH
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.schema import quoted
from vault_domain.entities.errors import StorageError

VERSION = "pg_catalog.hash_record_extended(t, 0)"
"""A hash of all columns of ``token t``; NULL if there is no token.

The table ``token_use`` holds the time of the last use. So a read that is recorded as a use does not change the version.

Unlike a number that each write increments, the hash also shows that somebody has changed the row by hand or restored
it, or that another value was written after a failover had lost an earlier write.
"""

NO_VERSION = "NULL::int8"
"""Replaces `VERSION` if Citus distributes the tables, or if the server cannot hash the rows.

PostgreSQL 13 cannot hash rows. No server can hash a column of type json, and the host may have added such a column.
"""

_HASH_TRIAL = "SELECT pg_catalog.hash_record_extended(ROW(1), 0)"

_TRIAL = "SELECT pg_catalog.hash_record_extended(t, 0) FROM (SELECT (NULL::{schema}.token).*) t"


async def version_sql(database: PostgresDatabase, schema: str) -> str:
    """Return the SQL for the version of a token in this schema, or `NO_VERSION`."""
    return VERSION if await _works(database, _TRIAL.format(schema=quoted(schema))) else NO_VERSION


async def row_hash_sql(database: PostgresDatabase) -> str:
    """Return the SQL for the hash of some columns of a row."""
    return BINARY_HASH if await _works(database, _HASH_TRIAL) else TEXT_HASH


async def _works(database: PostgresDatabase, trial: str) -> bool:
    try:
        await database.fetch(trial)
    except StorageError as error:
        if error.retryable:
            raise
        return False
    return True
