"""The audit log on SQLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from attrs import asdict, evolve

from vault_adapters.stores.columns import sought_parameters
from vault_adapters.stores.damage import WrongRowError, sound, sound_page
from vault_adapters.stores.sqlite.rows import text, to_micros, to_time, whole
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.audit import CLIENT_ACTIONS, AuditAction, AuditEvent
from vault_domain.entities.page import encode_cursor
from vault_domain.ports.change import Change

if TYPE_CHECKING:
    from vault_adapters.stores.queries import Queries
    from vault_adapters.stores.sqlite.database import Row, Run, SqliteDatabase, Transaction
    from vault_domain.entities.chain_records import ChainEnd, Seal, Sealing
    from vault_domain.entities.page import Cursor
    from vault_domain.ports.audit_log import Announce, Noticed, Sought


async def append_events(transaction: Transaction, queries: Queries, events: Sequence[AuditEvent]) -> None:
    """Append events in the transaction of the change that they report."""
    await transaction.execute_many(*appending(queries, events))


def appending(queries: Queries, events: Sequence[AuditEvent]) -> Run:
    """Return the statement that appends events, to run in the transaction of the change that they report."""
    return queries["insert_audit_event"], [_parameters(event) for event in events]


class SqliteAuditLog:
    """Implements `AuditLog`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def page(self, tenant_id: str | None, *, limit: int, after: Cursor | None) -> list[AuditEvent]:
        """Return events in commit order."""

        async def fetch(position: Any, wanted: int) -> list[Row]:
            parameters = {"tenant_id": tenant_id, "after": position, "limit": wanted}
            return await self._database.fetch(self._queries.narrowed("list_audit_events", parameters), parameters)

        # No vault numbers an event less than 1, but a verification must find those that somebody else has put there.
        start = float("-inf") if after is None or after[1] == -(2**63) else after[1]
        return await sound_page(fetch, lambda row: _event(row, tenant_id), _place, start, limit)

    async def latest(self, tenant_id: str | None, sought: Sought, *, limit: int) -> list[AuditEvent]:
        """Return the latest events that match ``sought``, the latest at the end."""
        parameters = sought_parameters(sought) | {"tenant_id": tenant_id, "since": to_micros(sought.since)}
        sql = self._queries.narrowed("latest_audit_events", parameters)
        rows = await self._database.fetch(sql, parameters | {"limit": limit})
        return sound(rows[::-1], lambda row: _event(row, tenant_id))

    async def append(self, noticed: Sequence[Noticed], *, apart: timedelta | None) -> Change[None]:
        """Append events that belong to no mutation, for example events about reads; return the appended events."""

        async def work(transaction: Transaction) -> list[AuditEvent]:
            appended = []
            for each in noticed:
                event = evolve(each.event, occurred_at=transaction.now - each.age)
                after = None if apart is None else {"after": to_micros(transaction.now - apart)}
                if after is None or not await self._was_told(transaction, _parameters(event) | after):
                    await append_events(transaction, self._queries, [event])
                    appended.append(event)
            return appended

        return Change(None, await self._database.transact(work))

    async def prune(self, older_than: timedelta, *, actor: str | None, announce: Announce) -> Change[int]:
        """Delete old events in batches, so that other writers can write between two batches."""
        before, pruned = self._database.now() - older_than, 0
        await announce(before)
        batch = {"before": to_micros(before), "limit": _PRUNED_AT_ONCE}
        while deleted := await self._database.transact(
            lambda transaction: transaction.execute(self._queries["prune_audit_events"], batch)
        ):
            pruned += deleted
        if not pruned:
            return Change(0)
        code = before.astimezone(UTC).isoformat(timespec="seconds")

        async def tell(transaction: Transaction) -> AuditEvent:
            event = AuditEvent(AuditAction.AUDIT_PRUNED, transaction.now, actor=actor, code=code)
            await append_events(transaction, self._queries, [event])
            return event

        return Change(pruned, (await self._database.transact(tell),))

    async def seals(self, *, after: int | None, limit: int) -> list[Seal]:
        """Return seals of the chain in order."""
        from vault_domain.entities.chain_records import Seal

        rows = await self._database.fetch(self._queries["list_seals"], {"after": after, "limit": limit})
        return [Seal(*row) for row in rows]

    async def chain_ends(self, tenant_ids: Sequence[str]) -> Mapping[str, ChainEnd]:
        """Return the ends of these tenants' chains."""
        from vault_domain.entities.chain_records import ChainEnd

        query, found = self._queries["get_chain_end"], {}
        for tenant_id in tenant_ids:
            for row in await self._database.fetch(query, {"tenant_id": tenant_id}):
                found[tenant_id] = ChainEnd(*row)
        return found

    async def add_seal(self, sealing: Sealing) -> bool:
        """Store a seal and what goes with it, unless there is one with its number."""

        async def work(transaction: Transaction) -> bool:
            if not await transaction.execute(self._queries["add_seal"], asdict(sealing.seal)):
                return False
            closed = [{"tenant_id": tenant_id} for tenant_id in sealing.closed]
            await transaction.execute_many(self._queries["drop_chain_end"], closed)
            await transaction.execute_many(self._queries["put_chain_end"], [asdict(end) for end in sealing.ends])
            if sealing.empty_before is not None:
                await transaction.execute(self._queries["empty_seals"], {"before": sealing.empty_before})
            return True

        return await self._database.transact(work)

    async def _was_told(self, transaction: Transaction, parameters: dict[str, Any]) -> bool:
        [(told,)] = await transaction.fetch(self._queries["was_told"], parameters)
        return bool(told)


_PRUNED_AT_ONCE = 2000


def _parameters(event: AuditEvent) -> dict[str, Any]:
    account = event.account
    return {
        "action": event.action.value,
        "occurred_at": to_micros(event.occurred_at),
        "tenant_id": event.tenant_id,
        "provider": account.provider if account else event.provider,
        "identifier": (account.identifier or "") if account else None,
        "kind": event.kind.value if event.kind else None,
        "generation": event.generation,
        "actor": event.actor,
        "code": event.code,
        "credential_generation": event.credential_generation,
    }


def _place(row: Row) -> Any:
    seq, *_ = row
    return seq


def _event(row: Row, asked: str | None) -> AuditEvent:
    """Return the event of a row.

    Raises:
        Exception: the row is damaged or belongs to another tenant, or a newer release wrote its action.
    """
    seq, action, occurred_at, tenant_id, provider, identifier, kind, generation, actor, code, other = row
    if asked is not None and tenant_id != asked:
        raise WrongRowError
    occurred = to_time(occurred_at)
    assert occurred is not None  # noqa: S101 - the column is NOT NULL
    return AuditEvent(
        AuditAction(action),
        occurred,
        tenant_id=text(tenant_id),
        account=Account(tenant_id, provider, identifier) if tenant_id and provider else None,
        kind=TokenKind(kind) if kind else None,
        generation=None if generation is None else whole(generation),
        actor=text(actor),
        code=text(code),
        cursor=encode_cursor((0, seq)),
        provider=text(provider) if action in CLIENT_ACTIONS else None,
        credential_generation=None if other is None else whole(other),
    )
