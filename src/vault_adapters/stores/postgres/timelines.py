"""The timeline of the server: it changes when a standby is promoted, and then the last commits may be lost."""

import logging
from datetime import datetime

from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.queries import Queries
from vault_domain.entities.errors import StorageError

_log = logging.getLogger(__name__)

TIMELINE = """CASE WHEN NOT pg_catalog.pg_is_in_recovery()
        THEN pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END"""
"""The server's timeline. NULL on a standby, which has none of its own yet. By default, any role may call the functions.

The timeline is read in the same statement as an account's tokens and refresh state, and not once for each connection,
because a pooler may keep a connection while the server behind it changes.
"""

NO_TIMELINE = "NULL::text"
"""Replaces `TIMELINE` if Citus distributes the tables, or if the server does not tell its timeline.

A server that is not a plain Postgres does not tell its timeline, nor does a Postgres whose administrator
revoked the right to call these functions.
"""


async def timeline_sql(database: PostgresDatabase) -> str:
    """Return the SQL that tells the server's timeline, or `NO_TIMELINE`."""
    try:
        await database.fetch(f"SELECT {TIMELINE}")
    except StorageError as error:
        if error.retryable:
            raise
        _log.info(
            "the server does not tell its timeline, so a failover is not noticed (%s)", error.reason or error.code
        )
        return NO_TIMELINE
    return TIMELINE


class Timelines:
    """Stores a server's timelines in its database, so that all processes agree on when the latest one was first met."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def current(self) -> tuple[str | None, datetime | None]:
        """Return the server's timeline, and when it was first met; note it if it is new."""
        [(timeline, met_at)] = await self._database.fetch(self._queries["get_timeline"])
        if timeline is not None and met_at is None:
            met_at = await self.meet(timeline)
        return timeline, met_at

    async def meet(self, timeline: str) -> datetime | None:
        """Note a timeline, and return when it was first met; return None if it could not be noted."""
        parameters = {"timeline": timeline, "now": self._database.now()}
        try:
            rows = await self._database.write(self._queries["meet_timeline"], parameters)
        except StorageError as error:
            _log.warning("a new timeline of the server could not be noted (%s)", error.reason or error.code)
            return None
        return next((met_at for (met_at,) in rows), None)
