"""The records of refused OAuth clients on Postgres, and the turns of clients that have a request limit."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from vault_adapters.stores.client_rows import (
    client_record,
    joined,
    rejects_fleet,
    reserved_column,
    scope_columns,
    turns_of,
)
from vault_adapters.stores.damage import sound
from vault_adapters.stores.postgres.audit import token_event
from vault_adapters.stores.postgres.cursors import Row
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.marks import reject_attempt
from vault_adapters.stores.postgres.rows import account_parameters
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import Account, stored_key
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.clients import CLIENT_MISMATCH, MASS_REJECTION, ClientRecord, ClientScope
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.ports.change import Change
from vault_domain.ports.client_ledger import Verdict
from vault_domain.rules.clients import ClientRules, after_restore, counted, is_paused, opened
from vault_domain.rules.pacing import FREE, mark_of_tenant, next_turn

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PostgresClientLedger:
    """Implements `ClientLedger`. `refuse` and `condemn` lock the scope's row before they read anything else."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def records(self, provider: str | None = None) -> tuple[list[ClientRecord], datetime]:
        """Return the records of a provider, or of all providers, and the store's time."""
        parameters = {"provider": provider, "now": self._database.now()}
        rows = await self._database.fetch(self._queries["list_client_refusals"], parameters)
        [now] = [time for name, _, _, _, time, *_ in rows if name is None]
        return sound([row for row in rows if not _is_time(row)], lambda row: client_record(*row)), now

    async def refuse(self, scope: ClientScope, account: Account, rules: ClientRules) -> Change[ClientRecord]:
        """Count that an account was refused; return the new record."""

        async def work(transaction: Transaction) -> Change[ClientRecord]:
            record, now = await self._lock(transaction, scope)
            succeeded = False
            if record.marks and scope.reason != CLIENT_MISMATCH:
                succeeded = await self._count(transaction, "count_client_successes", scope, record.since, 1) > 0
            own = account_parameters(account)
            is_sole = not await self._count(transaction, "count_other_tenants", scope, now, 1, own)
            new = counted(record, scope, account, now, rules, succeeded, is_sole=is_sole)
            await self._put(transaction, new)
            is_new = new.opened_at is not None and record.opened_at is None
            return Change(new, await self._report(transaction, AuditAction.CLIENT_PAUSED, scope, now) if is_new else ())

        return await self._database.transact(work)

    async def take_probe(self, scope: ClientScope, seen: datetime | None) -> bool:
        """Set the time of the latest probe to now, unless another process was faster."""
        parameters = scope_columns(scope) | {"seen": seen, "now": self._database.now()}
        return bool(await self._database.write(self._queries["take_client_probe"], parameters))

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

    async def close(self, scope: ClientScope) -> Change[bool]:
        """Delete the record of a scope; if the scope was paused, write the event ``client_resumed``."""

        async def work(transaction: Transaction) -> Change[bool]:
            parameters = scope_columns(scope) | {"now": transaction.now}
            for was_open, now in await transaction.fetch(self._queries["delete_client_refusal"], parameters):
                if was_open:
                    events = await self._report(transaction, AuditAction.CLIENT_RESUMED, scope, now)
                    return Change(result=True, events=events)
            return Change(result=False)

        return await self._database.transact(work)

    async def condemn(
        self, attempt: Attempt, code: str, scope: ClientScope, rules: ClientRules, *, actor: str | None
    ) -> Change[Verdict]:
        """Mark the attempt's credential invalid, unless the provider rejects most of the fleet."""

        async def work(transaction: Transaction) -> Change[Verdict]:
            record, now = await self._lock(transaction, scope)
            [(restored_at,)] = await transaction.fetch(self._queries["get_restored_at"], {})
            judged = after_restore(rules, attempt.stored_at, restored_at)
            if is_paused(record, now, judged):
                await self._put(transaction, counted(record, scope, attempt.account, now, judged, succeeded=False))
                return Change(Verdict.SPARED)
            own = account_parameters(attempt.account) | {"restored_at": restored_at or _EPOCH}
            after, count = now - judged.window, partial(self._count, transaction)
            if record.opened_at is None and await rejects_fleet(count, scope, after, own, judged):
                window = scope_columns(scope) | own | {"after": after, "now": transaction.now, "actor": actor}
                revived = await transaction.fetch(self._queries["take_back_rejections"], window)
                first = counted(None, scope, attempt.account, now, judged, succeeded=False)
                await self._put(transaction, opened(first, now))
                paused = await self._report(transaction, AuditAction.CLIENT_PAUSED, scope, now)
                return Change(Verdict.SPARED, (*sound(revived, lambda row: _revival(row, actor)), *paused))
            change = await reject_attempt(transaction, self._queries, attempt, code, actor)
            return Change(Verdict.CONDEMNED if change.result else Verdict.MOVED, change.events)

        return await self._database.transact(work)

    async def note_restore(self, since: datetime | None, *, actor: str | None) -> Change[datetime]:
        """Note that a backup of this database went into use at a time; None: now."""

        async def work(transaction: Transaction) -> Change[datetime]:
            clock = {"now": transaction.now}
            parameters = clock | {"since": since}
            [(restored_at, now)] = await transaction.fetch(self._queries["put_restored_at"], parameters)
            if restored_at > now:
                raise InvalidInputError("since must not lie in the future")
            ended = await transaction.fetch(self._queries["delete_mass_rejections"], {})
            await transaction.execute(self._queries["wake_spared_accounts"], clock)
            events: list[AuditEvent] = []
            for provider in [provider for provider, was_open in sorted(ended) if was_open]:
                scope = ClientScope(provider, None, MASS_REJECTION)
                events += await self._report(transaction, AuditAction.CLIENT_RESUMED, scope, now)
            restored = {"action": AuditAction.DATABASE_RESTORED.value, "occurred_at": now, "actor": actor}
            await transaction.execute(self._queries["append_restore_event"], restored)
            return Change(restored_at, (*events, AuditEvent(AuditAction.DATABASE_RESTORED, now, actor=actor)))

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
        parameters = scope_columns(scope) | {"after": after, "limit": limit} | (own or {})
        [(count,)] = await transaction.fetch(self._queries[name], parameters)
        return int(count)

    async def _lock(self, transaction: Transaction, scope: ClientScope) -> tuple[ClientRecord, datetime]:
        """Lock the scope's row, or make it if it is missing; return its record and the store's time."""
        parameters = scope_columns(scope) | {"now": transaction.now}
        [(*columns, now)] = await transaction.fetch(self._queries["lock_client_refusal"], parameters)
        for record in sound([tuple(columns)], lambda row: client_record(*row)):
            return record, now
        return ClientRecord(scope, now, now), now  # the caller overwrites a damaged row

    async def _put(self, transaction: Transaction, record: ClientRecord) -> None:
        times = {
            "since": record.since,
            "refused_at": record.refused_at,
            "opened_at": record.opened_at,
            "probe_at": record.probe_at,
        }
        parameters = scope_columns(record.scope) | {"marks": joined(record.marks)} | times
        await transaction.execute(self._queries["put_client_refusal"], parameters)

    async def _report(
        self, transaction: Transaction, action: AuditAction, scope: ClientScope, now: datetime
    ) -> tuple[AuditEvent]:
        parameters = {"action": action.value, "occurred_at": now, "provider": scope.provider, "reason": scope.reason}
        await transaction.execute(self._queries["append_client_event"], parameters)
        return (AuditEvent(action, now, code=scope.reason, provider=scope.provider),)


def _revival(row: Row, actor: str | None) -> AuditEvent:
    tenant_id, occurred_at, provider, identifier, kind, generation, code = row
    key = stored_key(tenant_id, provider, kind, identifier)
    return token_event(AuditAction.ACCOUNT_REVIVED, key, generation, occurred_at, actor, code)


def _is_time(row: Row) -> bool:
    name, *_ = row
    return name is None
