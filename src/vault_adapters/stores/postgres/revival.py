"""Revives condemned credentials on Postgres."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from attrs import frozen

from vault_adapters.stores.postgres.audit import token_event
from vault_adapters.stores.postgres.cursors import int8
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.limits import Pace
from vault_adapters.stores.postgres.rows import micros
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import stored_key
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.ports.change import Change
from vault_domain.ports.revival import Condemned, Place, Revived, Spread

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@frozen
class _Found:
    """A condemned credential.

    Attributes:
        place: the credential's `Place`: time of the condemnation, tenant, kind and identifier.
        value_id: the id of the credential's value.
        can_revive: whether the credential has not expired.
        now: the store's time.
    """

    place: list[Any]
    value_id: UUID
    can_revive: bool
    now: datetime


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
            found = [_Found(place, value_id, can_revive, now) for *place, value_id, can_revive, now in rows]
            wanted = [each for each in found if each.can_revive]
            events: tuple[AuditEvent, ...] = ()
            if wanted and not dry_run:
                events = await self._revive(transaction, condemned.provider, wanted, spread, actor)
            revived = len(wanted) if dry_run else len(events)
            last = found[-1] if found else None
            following = tuple(last.place) if last is not None and len(found) == limit else None
            return Change(Revived(revived, len(found) - revived, None if last is None else last.now, following), events)

        return await self._database.transact(work, pace=Pace.BULK)

    async def _revive(
        self, transaction: Transaction, provider: str, found: list[_Found], spread: Spread, actor: str | None
    ) -> tuple[AuditEvent, ...]:
        _, tenants, kinds, identifiers = map(list, zip(*(each.place for each in found), strict=True))
        columns = {"tenant_ids": tenants, "kinds": kinds, "identifiers": identifiers}
        columns["value_ids"] = [each.value_id for each in found]
        own: dict[str, Any] = {"provider": provider, "actor": actor, "now": transaction.now}
        locked = await transaction.fetch(self._queries["lock_condemned"], own | columns)
        if not locked:
            return ()
        tenants, kinds, identifiers, value_ids, generations, codes, numbers = map(list, zip(*locked, strict=True))
        columns = {"tenant_ids": tenants, "kinds": kinds, "identifiers": identifiers}
        values = {"value_ids": value_ids, "codes": codes}
        moments = await transaction.fetch(self._queries["revive_credentials"], own | columns | values)
        # The account whose credential was condemned first is due first. `locked` has the order of the keys, but `found`
        # has the order of the condemnations. `numbers` holds each locked credential's place in `found`, from 1. `order`
        # maps this place to the credential's rank among the locked ones.
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
    rejected_at, tenant_id, kind, identifier = after or (condemned.since, "", "", "")
    return {
        "provider": condemned.provider,
        "since": rejected_at,
        "until": condemned.until,
        "tenant_id": condemned.tenant_id,
        "client": condemned.client,
        "stored_since": condemned.stored_since or _EPOCH,
        "after_rejected_at": rejected_at,
        "after_tenant_id": tenant_id,
        "after_kind": kind,
        "after_identifier": identifier,
        "limit": int8(limit),
    }
