"""Revives condemned credentials on SQLite."""

from datetime import UTC, datetime
from typing import Any

from vault_adapters.stores.damage import sound
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events, token_event
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import account_parameters, key_parameters, text, to_micros, whole
from vault_domain.entities.account import TokenKey, stored_key
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.ports.change import Change
from vault_domain.ports.revival import Condemned, Place, Revived, Spread

_START: Place = (to_micros(datetime(1, 1, 1, tzinfo=UTC)), "", "", "")

_Found = tuple[TokenKey, bytes, int | None, int, str | None]
"""A condemned credential: key, value id, expiry in microseconds, generation and error code."""


class SqliteRevivalRepository:
    """Implements `RevivalRepository`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def revive(
        self, condemned: Condemned, *, after: Place | None, limit: int, spread: Spread, dry_run: bool, actor: str | None
    ) -> Change[Revived]:
        """Revive one page of condemned credentials in one transaction."""

        async def work(transaction: Transaction) -> Change[Revived]:
            parameters = _selection(condemned, after, limit, transaction.now)
            rows = await transaction.fetch(self._queries["find_condemned"], parameters)
            now = to_micros(transaction.now)
            found = sound(rows, lambda row: _found(row, condemned.provider))
            wanted = [each for each in found if each[2] is None or each[2] > (now or 0)]
            events: list[AuditEvent] = []
            if not dry_run:
                events = [
                    await self._revive(transaction, each, spread, number, actor) for number, each in enumerate(wanted)
                ]
                await append_events(transaction, self._queries, events)
            place = tuple(rows[-1][:4]) if len(rows) == limit else None
            return Change(Revived(len(wanted), len(rows) - len(wanted), transaction.now, place), events)

        return await self._database.transact(work)

    async def _revive(
        self, transaction: Transaction, found: _Found, spread: Spread, number: int, actor: str | None
    ) -> AuditEvent:
        key, value_id, _, generation, code = found
        now = {"now": to_micros(transaction.now), "due_at": to_micros(transaction.now + spread.due_in(number))}
        value = key_parameters(key) | {"value_id": value_id} | now
        await transaction.execute(self._queries["revive_credential"], value)
        await transaction.execute(self._queries["revive_account"], account_parameters(key.account) | now)
        return token_event(AuditAction.ACCOUNT_REVIVED, key, generation, transaction, actor, code)


def _found(row: Row, provider: str) -> _Found:
    """Return the credential of a row.

    Raises:
        Exception: the row is damaged.
    """
    _, tenant_id, kind, identifier, value_id, expires_at, generation, code = row
    if type(tenant_id) is not str or type(identifier) is not str or not tenant_id or type(value_id) is not bytes:
        raise ValueError
    expiry = None if expires_at is None else whole(expires_at)
    return stored_key(tenant_id, provider, kind, identifier), value_id, expiry, whole(generation), text(code)


def _selection(condemned: Condemned, after: Place | None, limit: int, now: datetime) -> dict[str, Any]:
    rejected_at, tenant_id, kind, identifier = after or _START
    return {
        "provider": condemned.provider,
        "since": to_micros(condemned.since),
        "until": to_micros(condemned.until or now),
        "tenant_id": condemned.tenant_id,
        "after_rejected_at": rejected_at,
        "after_tenant_id": tenant_id,
        "after_kind": kind,
        "after_identifier": identifier,
        "limit": limit,
    }
