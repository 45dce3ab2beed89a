"""Revives condemned credentials on SQLite."""

from datetime import datetime
from typing import Any

from attrs import frozen

from vault_adapters.stores.damage import sound
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events, token_event
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import account_parameters, key_parameters, text, to_micros, whole
from vault_domain.entities.account import TokenKey, stored_key
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.ports.change import Change
from vault_domain.ports.revival import Condemned, Place, Revived, Spread


@frozen
class _Found:
    """A condemned credential; ``expires_at`` is in microseconds since 1970."""

    key: TokenKey
    value_id: bytes
    expires_at: int | None
    generation: int
    error_code: str | None


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
            wanted = [each for each in found if each.expires_at is None or each.expires_at > (now or 0)]
            events: list[AuditEvent] = []
            if not dry_run:
                events = await self._revive(transaction, wanted, spread, actor)
            following = [tuple(place) for *place, _, _, _, _ in rows[limit - 1 :]]
            last = following[0] if following else None
            return Change(Revived(len(wanted), len(rows) - len(wanted), transaction.now, last), events)

        return await self._database.transact(work)

    async def _revive(
        self, transaction: Transaction, found: list[_Found], spread: Spread, actor: str | None
    ) -> list[AuditEvent]:
        now = {"now": to_micros(transaction.now)}
        values = [key_parameters(each.key) | {"value_id": each.value_id} | now for each in found]
        await transaction.execute_many(self._queries["revive_credential"], values)
        accounts = [
            account_parameters(each.key.account) | now | {"due_at": to_micros(transaction.now + spread.due_in(number))}
            for number, each in enumerate(found)
        ]
        await transaction.execute_many(self._queries["revive_account"], accounts)
        action = AuditAction.ACCOUNT_REVIVED
        events = [token_event(action, each.key, each.generation, transaction, actor, each.error_code) for each in found]
        await append_events(transaction, self._queries, events)
        return events


def _found(row: Row, provider: str) -> _Found:
    """Return the credential of a row.

    Raises:
        Exception: the row is damaged.
    """
    _, tenant_id, kind, identifier, value_id, expires_at, generation, code = row
    if type(tenant_id) is not str or type(identifier) is not str or not tenant_id or type(value_id) is not bytes:
        raise ValueError
    expiry = None if expires_at is None else whole(expires_at)
    return _Found(stored_key(tenant_id, provider, kind, identifier), value_id, expiry, whole(generation), text(code))


def _selection(condemned: Condemned, after: Place | None, limit: int, now: datetime) -> dict[str, Any]:
    rejected_at, tenant_id, kind, identifier = after or (to_micros(condemned.since), "", "", "")
    return {
        "provider": condemned.provider,
        "since": rejected_at,
        "until": to_micros(condemned.until or now),
        "tenant_id": condemned.tenant_id,
        "client": condemned.client,
        "stored_since": to_micros(condemned.stored_since) or 0,
        "after_rejected_at": rejected_at,
        "after_tenant_id": tenant_id,
        "after_kind": kind,
        "after_identifier": identifier,
        "limit": limit,
    }
