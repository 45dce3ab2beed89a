"""Records on Postgres where the database lives: on which server, and under which name."""

from __future__ import annotations

import logging

from vault_adapters.stores.home_rows import home_columns, home_of
from vault_adapters.stores.postgres.appending import append_events
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.queries import Queries
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.errors import StorageError
from vault_domain.entities.home import Home
from vault_domain.ports.change import Change

_log = logging.getLogger(__name__)

_SERVER = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"
"""The number that initdb gives to a server. Its standbys have the same number, and so do copies of its files."""


class PostgresHomeLedger:
    """Implements `HomeLedger`.

    The place is the server's number, the database and the schema. If Citus distributes the tables, the place cannot be
    told, because each node has a number of its own and a vault may use any node.
    """

    def __init__(self, database: PostgresDatabase, queries: Queries, schema: str) -> None:
        self._database = database
        self._queries = queries
        self._schema = schema

    async def look(self) -> tuple[Home | None, Home]:
        """Return the recorded home, and where the database is."""
        [(places, deployment, database)] = await self._database.fetch(self._queries["get_home"])
        server = None if self._database.is_distributed else await self._server()
        found = Home() if server is None else Home((f"{server}/{database}/{self._schema}",))
        return None if places is None else home_of(places, deployment), found

    async def record(self, home: Home, instead: Home | None) -> None:
        """Record a home in place of another record, or of none."""
        parameters = home_columns(home, instead) | {"now": self._database.now()}
        await self._database.write(self._queries["record_home"], parameters)

    async def adopt(self, home: Home, *, actor: str | None) -> Change[None]:
        """Record a home in place of any other, and append the event."""

        async def work(transaction: Transaction) -> AuditEvent:
            parameters = home_columns(home, anyway=True) | {"now": transaction.now}
            [(now,)] = await transaction.fetch(self._queries["record_home"], parameters)
            event = AuditEvent(AuditAction.VAULT_ADOPTED, now, actor=actor)
            await append_events(transaction, self._queries, [event])
            return event

        return Change(None, (await self._database.transact(work),))

    async def _server(self) -> str | None:
        try:
            [(number,)] = await self._database.fetch(_SERVER)
        except StorageError as error:
            if error.retryable:
                raise
            _log.info("the server does not tell its number, so a copy is not noticed (%s)", error.reason or error.code)
            return None
        return str(number)
