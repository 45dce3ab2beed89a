"""The audit log on Postgres. A change of a token and its event are one transaction, and usually one SQL statement."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import asdict, evolve, frozen

from vault_adapters.stores.columns import sought_parameters
from vault_adapters.stores.damage import WrongRowError, sound, sound_page
from vault_adapters.stores.postgres.appending import append_events
from vault_adapters.stores.postgres.audit_partitions import drop_partitions, make_partitions
from vault_adapters.stores.postgres.cursors import Row, int8
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.limits import Pace
from vault_adapters.stores.postgres.rows import micros
from vault_adapters.stores.postgres.timelines import Timelines
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.audit import CLIENT_ACTIONS, AuditAction, AuditEvent
from vault_domain.entities.chain_records import ChainEnd, Seal, Sealing
from vault_domain.entities.page import Cursor, encode_cursor
from vault_domain.ports.audit_log import Announce, Noticed, Sought
from vault_domain.ports.change import Change

_log = logging.getLogger(__name__)


@frozen
class _Turn:
    """The server's timeline, 0 if it is not known, and the time when a vault first met this timeline."""

    timeline: int
    met_at: datetime | None


class PostgresAuditLog:
    """Implements `AuditLog`."""

    def __init__(self, database: PostgresDatabase, queries: Queries, schema: str, timelines: Timelines) -> None:
        self._database = database
        self._queries = queries
        self._schema = schema
        self._timelines = timelines

    async def page(self, tenant_id: str | None, *, limit: int, after: Cursor | None) -> list[AuditEvent]:
        """Return events in the order of their places in the audit log; see ``audit_place`` in the first migration."""
        place, seq = after or (0, 0)
        met, xid = divmod(int(place), _PLACES)
        turn = await self._turn()
        if met and turn.timeline not in (0, met):
            xid, seq = await self._before(turn, (xid, int(seq)))

        async def fetch(position: tuple[int, int], wanted: int) -> list[Row]:
            after_xid, after_seq = position
            parameters = {"after_xid": str(max(after_xid, 0)), "after_seq": int8(after_seq), "limit": int8(wanted)}
            parameters |= {"tenant_id": tenant_id} | await self._horizon()
            return await self._database.fetch(self._queries.narrowed("list_audit_events", parameters), parameters)

        start = int(xid), int(seq)
        return await sound_page(fetch, lambda row: _event(row, tenant_id, turn), _place, start, limit)

    async def _turn(self) -> _Turn:
        """Return the timeline. Call this before you read events.

        If the timeline changes in between, the cursor names the former timeline, and a reader gets the events again. If
        the cursor named the new timeline, the reader could miss events.
        """
        timeline, met_at = await self._timelines.current()
        return _Turn(0 if timeline is None else int(timeline, 16) % _TIMELINES, met_at)

    async def _before(self, turn: _Turn, position: tuple[int, int]) -> tuple[int, int]:
        """Return the position from which a reader gets events again after the server's timeline has changed.

        The server uses transaction numbers of the former timeline again, so events that are new to a reader may lie
        before its cursor.
        """
        _log.warning("the server's timeline has changed, so a reader of audit events gets events again")
        rows = await self._database.fetch(
            self._queries["find_events_since_turn"], {"met_at": turn.met_at}, pace=Pace.BULK
        )
        return next(((int(first), 0) for (first,) in rows), position)

    async def latest(self, tenant_id: str | None, sought: Sought, *, limit: int) -> list[AuditEvent]:
        """Return the latest events that match ``sought``, the latest one at the end."""
        turn = await self._turn()
        parameters = {
            **sought_parameters(sought),
            "tenant_id": tenant_id,
            "since": sought.since,
            "limit": int8(limit),
            **await self._horizon(),
        }
        sql = self._queries.narrowed("latest_audit_events", parameters)
        rows = await self._database.fetch(sql, parameters, pace=Pace.BULK)
        return sound(rows[::-1], lambda row: _event(row, tenant_id, turn))

    async def _horizon(self) -> dict[str, Any]:
        """Return the parameter ``horizon`` if Citus distributes the tables, else no parameter.

        The parameter is the number of the oldest transaction that may still add events. A page ends before the events
        of this transaction. On a plain server, the statements find the number themselves.
        """
        if not self._database.is_distributed:
            return {}
        [(xid,)] = await self._database.fetch(self._queries["get_horizon"])
        return {"horizon": xid}

    async def append(self, noticed: Sequence[Noticed], *, apart: timedelta | None) -> Change[None]:
        """Append events that belong to no mutation; return the events that were appended."""

        async def work(transaction: Transaction) -> list[AuditEvent]:
            told: set[Row] = set()
            if apart is not None:  # without the lock, two processes might both find no equal event and append theirs
                await transaction.fetch(_LOCK)
                tenants = sorted({each.event.tenant_id or "" for each in noticed})
                recent = {"tenant_ids": tenants, "apart": micros(apart), "now": transaction.now}
                told.update(await transaction.fetch(self._queries["find_told_failures"], recent))
            [(now,)] = await transaction.fetch(self._queries["get_time"], {"now": transaction.now})
            events = [evolve(each.event, occurred_at=now - each.age) for each in noticed]
            events = [event for event in events if _failure_of(event) not in told]
            await append_events(transaction, self._queries, events)
            return events

        return Change(None, await self._database.transact(work))

    async def prune(self, older_than: timedelta, *, actor: str | None, announce: Announce) -> Change[int]:
        """Drop the partitions whose events are all old, and delete the other old events in batches."""
        [(now,)] = await self._database.fetch(self._queries["get_time"], {"now": self._database.now()})
        before = now - older_than
        await announce(before)
        await make_partitions(self._database, self._schema)
        pruned = await drop_partitions(self._database, self._schema, before)
        batch = {"before": before, "limit": int8(_PRUNED_AT_ONCE)}
        while deleted := await self._prune_some(batch):
            pruned += deleted
            await asyncio.sleep(0)
        if not pruned:
            return Change(0)
        code = before.astimezone(UTC).isoformat(timespec="seconds")
        event = AuditEvent(AuditAction.AUDIT_PRUNED, before, actor=actor, code=code)
        return Change(pruned, (await self.append([Noticed(event)], apart=None)).events)

    async def seals(self, *, after: int | None, limit: int) -> list[Seal]:
        """Return seals of the chain in order."""
        parameters = {"after": None if after is None else int8(after), "limit": int8(limit)}
        return [_seal(row) for row in await self._database.fetch(self._queries["list_seals"], parameters)]

    async def chain_ends(self, tenant_ids: Sequence[str]) -> Mapping[str, ChainEnd]:
        """Return the ends of these tenants' chains."""
        rows = await self._database.fetch(self._queries["get_chain_ends"], {"tenant_ids": list(tenant_ids)})
        return {
            tenant_id: ChainEnd(tenant_id, bytes(secret), events, bytes(digest))
            for tenant_id, secret, events, digest in rows
        }

    async def add_seal(self, sealing: Sealing) -> bool:
        """Store a seal and what goes with it, unless there is one with its number."""
        seal, ends = sealing.seal, sorted(sealing.ends, key=lambda end: end.tenant_id)
        own = asdict(seal) | {"number": int8(seal.number), "until": int8(seal.until)}

        async def work(transaction: Transaction) -> bool:
            if not await transaction.execute(self._queries["add_seal"], own):
                return False
            if sealing.closed:
                await transaction.execute(self._queries["drop_chain_ends"], {"tenant_ids": sorted(sealing.closed)})
            if ends:
                columns = {"tenant_ids": [end.tenant_id for end in ends], "secrets": [end.secret for end in ends]}
                columns |= {"events": [int8(end.events) for end in ends], "digests": [end.digest for end in ends]}
                await transaction.execute(self._queries["put_chain_ends"], columns)
            if sealing.empty_before is not None:
                await transaction.execute(self._queries["empty_seals"], {"before": int8(sealing.empty_before)})
            return True

        return await self._database.transact(work, pace=Pace.BULK)

    async def _prune_some(self, batch: dict[str, Any]) -> int:
        return await self._database.transact(
            lambda transaction: transaction.execute(self._queries["prune_audit_events"], batch), pace=Pace.BULK
        )


_PLACES = 2**48
"""A cursor's first number is the timeline times `_PLACES`, plus the place."""

_TIMELINES = 2**15
_PRUNED_AT_ONCE = 10_000
_LOCK = "SELECT pg_catalog.pg_advisory_xact_lock(7220213406120954)"


def _failure_of(event: AuditEvent) -> Row:
    """Return what `find_told_failures` returns of an event."""
    account = event.account
    place = (None, None) if account is None else (account.provider, account.identifier or "")
    return (event.tenant_id or "", *place, event.kind and event.kind.value, event.generation, event.code)


def _stored_event(row: Sequence[Any], **beside: Any) -> AuditEvent:
    """Return the event of a row; ``beside`` are the attributes that the row's columns do not tell."""
    action, occurred_at, tenant_id, provider, identifier, kind, generation, actor, code = row
    return AuditEvent(
        AuditAction(action),
        occurred_at,
        tenant_id=tenant_id,
        account=Account(tenant_id, provider, identifier) if tenant_id and provider else None,
        kind=TokenKind(kind) if kind else None,
        generation=generation,
        actor=actor,
        code=code,
        **beside,
    )


def _seal(row: Row) -> Seal:
    number, until, body, body_digest, digest = row
    return Seal(number, until, None if body is None else bytes(body), bytes(body_digest), bytes(digest))


def _place(row: Row) -> tuple[int, int]:
    xid, seq, *_ = row
    return int(xid), seq


def _event(row: Row, asked: str | None, turn: _Turn) -> AuditEvent:
    """Return the event of a row.

    Raises:
        Exception: the row is damaged or belongs to another tenant, or its action is that of a newer release.
    """
    xid, seq, *columns, other = row
    action, _, tenant_id, provider, *_ = columns
    if asked is not None and tenant_id != asked:
        raise WrongRowError
    return _stored_event(
        columns,
        cursor=encode_cursor((turn.timeline * _PLACES + int(xid), seq)),
        provider=provider if action in CLIENT_ACTIONS else None,
        credential_generation=other,
    )
