"""The version of a stored token: a number that tells whether its row is still the one that a process remembers."""

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

_TRIAL = "SELECT pg_catalog.hash_record_extended(t, 0) FROM (SELECT (NULL::{schema}.token).*) t"


async def version_sql(database: PostgresDatabase, schema: str) -> str:
    """Return the SQL for the version of a token in this schema, or `NO_VERSION`."""
    try:
        await database.fetch(_TRIAL.format(schema=quoted(schema)))
    except StorageError as error:
        if error.retryable:
            raise
        return NO_VERSION
    return VERSION
