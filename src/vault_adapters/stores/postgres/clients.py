"""The records of refused OAuth clients on Postgres, and the turns of clients that have a request limit."""

from datetime import UTC, datetime, timedelta
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
from vault_adapters.stores.postgres.appending import append_events
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.queries import Queries
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.clients import ClientDecision, ClientScope, StoredClients
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.ports.change import Change
from vault_domain.ports.client_states import ClientDecide
from vault_domain.rules.pacing import FREE, mark_of_tenant, next_turn

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PostgresClientStates:
    """Implements `ClientStates`. A change locks the scope's row, so that any number of others wait for it."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def records(self, provider: str | None = None) -> StoredClients:
        """Return the records of a provider, or of all providers."""
        parameters = {"provider": provider, "now": self._database.now()}
        rows = await self._database.fetch(self._queries["list_clients"], parameters)
        [(*_, restored_at, now)] = [row for row in rows if not is_record(row)]
        found = [columns for *columns, _ in rows if is_record(columns)]
        return StoredClients(sound(found, lambda columns: client_record(*columns)), now, restored_at)

    async def change(self, scope: ClientScope, decide: ClientDecide[T]) -> ClientDecision[T]:
        """Lock the record of a scope, decide, and write the new record with the events."""

        async def work(transaction: Transaction) -> ClientDecision[T]:
            await transaction.fetch(self._queries["make_commit_durable"])
            own = scope_columns(scope) | {"now": transaction.now}
            [(*row, now)] = await transaction.fetch(self._queries["lock_client"], own)
            found = sound([tuple(row)], lambda columns: client_record(*columns))
            record = found[0] if found and found[0].marks else None
            decision = decide(record, now)
            if decision.record is None:
                await transaction.execute(self._queries["delete_client"], scope_columns(scope))
            elif decision.record != record:
                await transaction.execute(self._queries["put_client"], record_columns(decision.record))
            await append_events(transaction, self._queries, decision.events)
            return decision

        return await self._database.transact(work)

    async def take_turn(
        self, provider: str, client: bytes | None, tenant_id: str, limit: RequestLimit, ahead: timedelta = FREE
    ) -> timedelta:
        """Take or reserve a turn for one token request of a client; return the time to wait."""
        key = {"provider": provider, "client": client or b""}

        async def work(transaction: Transaction) -> timedelta:
            parameters = key | {"now": transaction.now}
            [(free_at, reserved, now)] = await transaction.fetch(self._queries["lock_client_turn"], parameters)
            turns = turns_of(free_at, reserved)
            new, wait = next_turn(turns, mark_of_tenant(tenant_id), now, limit, ahead)
            if new != turns:
                stored = {"free_at": new.free_at, "reserved": reserved_column(new)}
                await transaction.execute(self._queries["put_client_turn"], key | stored)
            return wait

        return await self._database.transact(work)

    async def note_restore(self, since: datetime | None, *, actor: str | None) -> Change[datetime]:
        """Note that a backup of this database went into use at a time; None: now."""

        async def work(transaction: Transaction) -> Change[datetime]:
            parameters = {"since": since, "now": transaction.now}
            [(restored_at, now)] = await transaction.fetch(self._queries["put_restored_at"], parameters)
            if restored_at > now:
                raise InvalidInputError("since must not lie in the future")
            events = (AuditEvent(AuditAction.DATABASE_RESTORED, now, actor=actor),)
            await append_events(transaction, self._queries, events)
            return Change(restored_at, events)

        return await self._database.transact(work)
