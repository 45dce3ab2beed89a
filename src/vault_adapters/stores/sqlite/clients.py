"""The records of refused OAuth clients on SQLite, and the turns of clients that have a request limit."""

from datetime import datetime, timedelta
from typing import TypeVar

from vault_adapters.stores.client_rows import (
    client_record,
    is_record,
    record_columns,
    reserved_column,
    scope_columns,
    turns_of,
)
from vault_adapters.stores.damage import sound
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import to_micros, to_time
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.clients import ClientDecision, ClientRecord, ClientScope, StoredClients
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.ports.change import Change
from vault_domain.ports.client_states import ClientDecide
from vault_domain.rules.pacing import FREE, Turns, mark_of_tenant, next_turn

T = TypeVar("T")


class SqliteClientStates:
    """Implements `ClientStates`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def records(self, provider: str | None = None) -> StoredClients:
        """Return the records of a provider, or of all providers."""
        rows = await self._database.fetch(self._queries["list_clients"], {"provider": provider})
        return _clients(rows, self._database.now())

    async def change(self, scope: ClientScope, decide: ClientDecide[T]) -> ClientDecision[T]:
        """Load the record of a scope, decide, and write the new record with the events."""

        async def work(transaction: Transaction) -> ClientDecision[T]:
            rows = await transaction.fetch(self._queries["list_clients"], {"provider": scope.provider})
            record = _clients(rows, transaction.now).of(scope)
            decision = decide(record, transaction.now)
            if decision.record is None:
                await transaction.execute(self._queries["delete_client"], scope_columns(scope))
            elif decision.record != record:
                columns = record_columns(decision.record)
                times = {name: to_micros(each) for name, each in columns.items() if isinstance(each, datetime)}
                await transaction.execute(self._queries["put_client"], columns | times)
            await append_events(transaction, self._queries, decision.events)
            return decision

        return await self._database.transact(work)

    async def take_turn(
        self, provider: str, client: bytes | None, tenant_id: str, limit: RequestLimit, ahead: timedelta = FREE
    ) -> timedelta:
        """Take or reserve a turn for one token request of a client; return the time to wait."""
        key = {"provider": provider, "client": client or b""}

        async def work(transaction: Transaction) -> timedelta:
            rows = await transaction.fetch(self._queries["get_client_turn"], key)
            turns = next((turns_of(to_time(free_at), reserved) for free_at, reserved in rows), Turns())
            new, wait = next_turn(turns, mark_of_tenant(tenant_id), transaction.now, limit, ahead)
            if new != turns:
                stored = {"free_at": to_micros(new.free_at), "reserved": reserved_column(new)}
                await transaction.execute(self._queries["put_client_turn"], key | stored)
            return wait

        return await self._database.transact(work)

    async def note_restore(self, since: datetime | None, *, actor: str | None) -> Change[datetime]:
        """Note that a backup of this database went into use at a time; None: now."""

        async def work(transaction: Transaction) -> Change[datetime]:
            restored_at = since or transaction.now
            if restored_at > transaction.now:
                raise InvalidInputError("since must not lie in the future")
            await transaction.execute(self._queries["put_restored_at"], {"restored_at": to_micros(restored_at)})
            events = (AuditEvent(AuditAction.DATABASE_RESTORED, transaction.now, actor=actor),)
            await append_events(transaction, self._queries, events)
            return Change(restored_at, events)

        return await self._database.transact(work)


def _clients(rows: list[Row], now: datetime) -> StoredClients:
    """Return the records of rows; a damaged row pauses nothing, and the next refusal of its scope overwrites it."""

    def decode(row: Row) -> ClientRecord:
        provider, client, reason, marks, *times = row
        since, refused_at, opened_at, probe_at = (to_time(time) for time in times)
        if since is None or refused_at is None:
            raise ValueError
        return client_record(provider, client, reason, marks, since, refused_at, opened_at, probe_at)

    [(*_, restored_at)] = [row for row in rows if not is_record(row)]
    return StoredClients(sound([row for row in rows if is_record(row)], decode), now, to_time(restored_at))
