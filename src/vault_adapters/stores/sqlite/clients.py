"""The records of refused OAuth clients on SQLite, and the turns of clients that have a request limit."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from attrs import evolve

from vault_adapters.stores.client_rows import (
    client_record,
    joined,
    rejects_fleet,
    reserved_column,
    scope_columns,
    turns_of,
)
from vault_adapters.stores.damage import sound
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.account_states import change_state
from vault_adapters.stores.sqlite.audit import append_events, token_event
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import account_parameters, text, to_micros, to_time, whole
from vault_domain.entities.account import Account, stored_key
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.clients import CLIENT_MISMATCH, MASS_REJECTION, ClientRecord, ClientScope
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.ports.change import Change
from vault_domain.ports.client_ledger import Verdict
from vault_domain.rules.clients import ClientRules, after_restore, counted, is_paused, opened
from vault_domain.rules.pacing import FREE, Turns, mark_of_tenant, next_turn
from vault_domain.transitions.attempts import rejected


class SqliteClientLedger:
    """Implements `ClientLedger`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def records(self, provider: str | None = None) -> tuple[list[ClientRecord], datetime]:
        """Return the records of a provider, or of all providers, and the store's time."""
        rows = await self._database.fetch(self._queries["list_client_refusals"], {"provider": provider})
        return _records(rows), self._database.now()

    async def refuse(self, scope: ClientScope, account: Account, rules: ClientRules) -> Change[ClientRecord]:
        """Count that an account was refused; return the new record."""

        async def work(transaction: Transaction) -> Change[ClientRecord]:
            record = await self._record(transaction, scope)
            succeeded = False
            if record is not None and scope.reason != CLIENT_MISMATCH:
                succeeded = await self._count(transaction, "count_client_successes", scope, record.since, 1) > 0
            own = account_parameters(account)
            is_sole = not await self._count(transaction, "count_other_tenants", scope, transaction.now, 1, own)
            new = counted(record, scope, account, transaction.now, rules, succeeded, is_sole=is_sole)
            await self._put(transaction, new)
            is_new = new.opened_at is not None and (record is None or record.opened_at is None)
            return Change(new, await self._report(transaction, AuditAction.CLIENT_PAUSED, scope) if is_new else ())

        return await self._database.transact(work)

    async def take_probe(self, scope: ClientScope, seen: datetime | None) -> bool:
        """Set the time of the latest probe to now, unless another process was faster."""

        async def work(transaction: Transaction) -> bool:
            parameters = scope_columns(scope) | {"now": to_micros(transaction.now), "seen": to_micros(seen)}
            return await transaction.execute(self._queries["take_client_probe"], parameters) == 1

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

    async def close(self, scope: ClientScope) -> Change[bool]:
        """Delete the record of a scope; if the scope was paused, write the event ``client_resumed``."""

        async def work(transaction: Transaction) -> Change[bool]:
            record = await self._record(transaction, scope)
            await transaction.execute(self._queries["delete_client_refusal"], scope_columns(scope))
            if record is None or record.opened_at is None:
                return Change(result=False)
            return Change(result=True, events=await self._report(transaction, AuditAction.CLIENT_RESUMED, scope))

        return await self._database.transact(work)

    async def condemn(
        self, attempt: Attempt, code: str, scope: ClientScope, rules: ClientRules, *, actor: str | None
    ) -> Change[Verdict]:
        """Mark the attempt's credential invalid, unless the provider rejects most of the fleet."""

        async def work(transaction: Transaction) -> Change[Verdict]:
            record, now = await self._record(transaction, scope), transaction.now
            [(restored_at,)] = await transaction.fetch(self._queries["get_restored_at"], {})
            judged = after_restore(rules, attempt.stored_at, to_time(restored_at))
            own = account_parameters(attempt.account) | {"restored_at": restored_at or 0}
            after = now - judged.window
            if record is not None and is_paused(record, now, judged):
                await self._put(transaction, counted(record, scope, attempt.account, now, judged, succeeded=False))
                return Change(Verdict.SPARED)
            count = partial(self._count, transaction)
            is_open = record is not None and record.opened_at is not None
            if not is_open and await rejects_fleet(count, scope, after, own, judged):
                revived = await self._take_back(transaction, scope, after, own, actor)
                first = counted(None, scope, attempt.account, now, judged, succeeded=False)
                await self._put(transaction, opened(first, now))
                paused = await self._report(transaction, AuditAction.CLIENT_PAUSED, scope)
                return Change(Verdict.SPARED, (*revived, *paused))
            if record is not None:
                await self._put(transaction, evolve(record, refused_at=now))
            decision = await change_state(
                transaction, self._queries, attempt.account, lambda state, at: rejected(state, at, attempt, code, actor)
            )
            return Change(Verdict.CONDEMNED if decision.result else Verdict.MOVED, decision.events)

        return await self._database.transact(work)

    async def _take_back(
        self, transaction: Transaction, scope: ClientScope, after: datetime, own: dict[str, Any], actor: str | None
    ) -> list[AuditEvent]:
        """Make valid again the credentials that were rejected after a time; return the events."""
        parameters = self._window(scope, after) | own | {"now": to_micros(transaction.now)}
        rows = await transaction.fetch(self._queries["find_rejections"], parameters)
        events = sound(rows, lambda row: _revival(row, scope.provider, transaction, actor))
        for name in ("wake_rejected_accounts", "take_back_rejections"):
            await transaction.execute(self._queries[name], parameters)
        await append_events(transaction, self._queries, events)
        return events

    async def note_restore(self, since: datetime | None, *, actor: str | None) -> Change[datetime]:
        """Note that a backup of this database went into use at a time; None: now."""

        async def work(transaction: Transaction) -> Change[datetime]:
            restored_at = since or transaction.now
            if restored_at > transaction.now:
                raise InvalidInputError("since must not lie in the future")
            await transaction.execute(self._queries["put_restored_at"], {"restored_at": to_micros(restored_at)})
            ended = await transaction.fetch(self._queries["list_mass_rejections"], {})
            await transaction.execute(self._queries["delete_mass_rejections"], {})
            await transaction.execute(self._queries["wake_spared_accounts"], {"now": to_micros(transaction.now)})
            events: list[AuditEvent] = []
            for provider in [provider for provider, was_open in ended if was_open]:
                events += await self._report(
                    transaction, AuditAction.CLIENT_RESUMED, ClientScope(provider, None, MASS_REJECTION)
                )
            restored = AuditEvent(AuditAction.DATABASE_RESTORED, transaction.now, actor=actor)
            await append_events(transaction, self._queries, [restored])
            return Change(restored_at, (*events, restored))

        return await self._database.transact(work)

    async def _count(
        self,
        transaction: Transaction,
        name: str,
        scope: ClientScope,
        after: datetime,
        limit: int,
        own: dict[str, Any] | None = None,
    ) -> int:
        parameters = self._window(scope, after) | {"limit": limit} | (own or {})
        [(count,)] = await transaction.fetch(self._queries[name], parameters)
        return int(count)

    def _window(self, scope: ClientScope, after: datetime) -> dict[str, Any]:
        return scope_columns(scope) | {"after": to_micros(after)}

    async def _record(self, transaction: Transaction, scope: ClientScope) -> ClientRecord | None:
        rows = await transaction.fetch(self._queries["get_client_refusal"], scope_columns(scope))
        return next(iter(_records(rows)), None)

    async def _put(self, transaction: Transaction, record: ClientRecord) -> None:
        times = {
            "since": to_micros(record.since),
            "refused_at": to_micros(record.refused_at),
            "opened_at": to_micros(record.opened_at),
            "probe_at": to_micros(record.probe_at),
        }
        parameters = scope_columns(record.scope) | {"marks": joined(record.marks)} | times
        await transaction.execute(self._queries["put_client_refusal"], parameters)

    async def _report(self, transaction: Transaction, action: AuditAction, scope: ClientScope) -> tuple[AuditEvent]:
        event = AuditEvent(action, transaction.now, code=scope.reason, provider=scope.provider)
        await append_events(transaction, self._queries, [event])
        return (event,)


def _revival(row: Row, provider: str, transaction: Transaction, actor: str | None) -> AuditEvent:
    tenant_id, kind, identifier, generation, code = row
    if type(tenant_id) is not str or type(identifier) is not str or not tenant_id:
        raise ValueError
    key = stored_key(tenant_id, provider, kind, identifier)
    return token_event(AuditAction.ACCOUNT_REVIVED, key, whole(generation), transaction, actor, text(code))


def _records(rows: list[Row]) -> list[ClientRecord]:
    """Return the records of rows; a damaged row pauses nothing, and the next refusal of its scope overwrites it."""

    def decode(row: Row) -> ClientRecord:
        provider, client, reason, marks, *times = row
        since, refused_at, opened_at, probe_at = (to_time(time) for time in times)
        if since is None or refused_at is None:
            raise ValueError
        return client_record(provider, client, reason, marks, since, refused_at, opened_at, probe_at)

    return sound(rows, decode)
