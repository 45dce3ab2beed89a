"""Revives condemned credentials on Postgres."""

from datetime import UTC, datetime
from typing import Any

from vault_adapters.stores.postgres.audit import token_event
from vault_adapters.stores.postgres.cursors import Row, int8
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.limits import Pace
from vault_adapters.stores.postgres.rows import micros
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import stored_key
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.ports.change import Change
from vault_domain.ports.revival import Condemned, Place, Revived, Spread

_START: Place = (datetime(1, 1, 1, tzinfo=UTC), "", "", "")


class PostgresRevivalRepository:
    """Implements `RevivalRepository`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def revive(
        self, condemned: Condemned, *, after: Place | None, limit: int, spread: Spread, dry_run: bool, actor: str | None
    ) -> Change[Revived]:
        """Revive one page of condemned credentials in one transaction."""

        async def work(transaction: Transaction) -> Change[Revived]:
            parameters = _selection(condemned, after, limit) | {"now": transaction.now}
            rows = await transaction.fetch(self._queries["find_condemned"], parameters)
            wanted = [row for row in rows if row[5]]
            if wanted and not dry_run:
                events = await self._revive(transaction, condemned.provider, wanted, spread, actor)
            else:
                events = ()
            revived = len(wanted) if dry_run else len(events)
            now = rows[0][6] if rows else None
            place = tuple(rows[-1][:4]) if len(rows) == limit else None
            return Change(Revived(revived, len(rows) - revived, now, place), events)

        return await self._database.transact(work, pace=Pace.BULK)

    async def _revive(
        self, transaction: Transaction, provider: str, rows: list[Row], spread: Spread, actor: str | None
    ) -> tuple[AuditEvent, ...]:
        columns = {
            "tenant_ids": [row[1] for row in rows],
            "kinds": [row[2] for row in rows],
            "identifiers": [row[3] for row in rows],
            "value_ids": [row[4] for row in rows],
        }
        own: dict[str, Any] = {"provider": provider, "actor": actor, "now": transaction.now}
        locked = await transaction.fetch(self._queries["lock_condemned"], own | columns)
        if not locked:
            return ()
        tenants, kinds, identifiers, value_ids, generations, codes, numbers = zip(*locked, strict=True)
        columns = {"tenant_ids": list(tenants), "kinds": list(kinds), "identifiers": list(identifiers)}
        values = {"value_ids": list(value_ids), "codes": list(codes)}
        moments = await transaction.fetch(self._queries["revive_credentials"], own | columns | values)
        # The earliest condemned account is due first, although the credentials are locked in the order of their keys.
        order = {number: place for place, number in enumerate(sorted(numbers))}
        delays = {"delays": [micros(spread.due_in(order[number])) for number in numbers]}
        await transaction.execute(self._queries["revive_accounts"], own | columns | delays)
        return tuple(
            token_event(
                AuditAction.ACCOUNT_REVIVED, stored_key(tenant, provider, kind, name), generation, moment, actor, code
            )
            for tenant, kind, name, generation, code, (moment,) in zip(
                tenants, kinds, identifiers, generations, codes, moments, strict=True
            )
        )


def _selection(condemned: Condemned, after: Place | None, limit: int) -> dict[str, Any]:
    rejected_at, tenant_id, kind, identifier = after or _START
    return {
        "provider": condemned.provider,
        "since": condemned.since,
        "until": condemned.until,
        "tenant_id": condemned.tenant_id,
        "after_rejected_at": rejected_at,
        "after_tenant_id": tenant_id,
        "after_kind": kind,
        "after_identifier": identifier,
        "limit": int8(limit),
    }
