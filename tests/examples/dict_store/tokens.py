"""Storing, finding and deleting tokens."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from attrs import evolve
from tests.examples.dict_store.account_states import change_each, change_state
from tests.examples.dict_store.clients import is_of_client, stored_at_least

from vault_domain.entities.account import TokenKind
from vault_domain.entities.reports import HealthCount
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import RECONNECT_NOTICE, TokenStatus
from vault_domain.ports.change import Change
from vault_domain.ports.token_repository import MOST_COUNTED, Reading
from vault_domain.transitions.values import deleted, is_ending, stored

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DictTokenRepository:
    """Implements `TokenRepository`."""

    def __init__(self, database, clock):
        self._database, self._clock = database, clock

    async def get(self, key):
        return Reading(self._database.tables.tokens.get(key), self._clock.now())

    async def get_many(self, keys):
        tokens = self._database.tables.tokens
        return [tokens[key] for key in keys if key in tokens], self._clock.now()

    async def store(self, writes, *, actor):
        named = [evolve(write, value_id=write.value_id or uuid4()) for write in writes]
        return await self._database.transact(
            lambda transaction: change_each(transaction, named, lambda *given: stored(*given, actor)), self._clock
        )

    async def store_many(self, writes, *, actor):
        return await self.store(writes.take(range(len(writes.keys))), actor=actor)

    async def delete_provider(self, tenant_id, provider, *, actor):
        def work(transaction):
            keys = [key for key in transaction.tables.tokens if (key.tenant_id, key.provider) == (tenant_id, provider)]
            events = []
            for account in dict.fromkeys(key.account for key in keys):
                decision = change_state(transaction, account, lambda state, now: deleted(state, now, TokenKind, actor))
                events += decision.events
            return Change(len(events), tuple(events))

        return await self._database.transact(work, self._clock)

    async def find_expiring(self, within, *, provider, limit, after):
        until = self._clock.now() + within
        found = [
            info
            for info in self._infos()
            if info.key.kind is TokenKind.ACCESS_TOKEN
            and info.status is TokenStatus.VALID
            and info.expires_at is not None
            and info.expires_at <= until
            and provider in (None, info.key.provider)
            and (after is None or _by_expiry(info) > after)
        ]
        return sorted(found, key=_by_expiry)[:limit]

    async def find_ending(self, notice, *, limit, after):
        now = self._clock.now()
        found = [
            row.info
            for row in self._database.tables.tokens.values()
            if row.key.kind is TokenKind.REFRESH_TOKEN
            and not row.is_end_told
            and is_ending(row.info, now, notice)
            and (after is None or _by_expiry(row.info) > after)
        ]
        return sorted(found, key=_by_expiry)[:limit]

    async def find_condemned(self, condemned, *, limit, after):
        found = [
            info
            for info in self._infos()
            if info.key.provider == condemned.provider
            and condemned.tenant_id in (None, info.key.tenant_id)
            and info.status is TokenStatus.INVALID
            and info.rejected_at is not None
            and condemned.since <= info.rejected_at <= condemned.until
            and (condemned.client is None or self._is_of_client(info, condemned.client))
            and stored_at_least(info, condemned.stored_since)
            and (after is None or _by_rejection(info) > _by_rejection(after))
        ]
        return sorted(found, key=_by_rejection)[:limit]

    def _is_of_client(self, info, client):
        return is_of_client(self._database.tables, info, client, {None, client})

    async def list_tenant(self, tenant_id, *, provider, limit, after):
        found = [
            info
            for info in self._infos()
            if info.key.tenant_id == tenant_id
            and provider in (None, info.key.provider)
            and (after is None or by_key(info.key) > after)
        ]
        return sorted(found, key=lambda info: by_key(info.key))[:limit]

    async def record_uses(self, uses):
        def work(transaction):
            tokens = transaction.tables.tokens
            for ref, used_at in uses.items():
                stored = tokens.get(ref.key)
                if stored is not None and stored.info.id == ref.id:
                    latest = max(used_at, stored.info.last_used_at or used_at)
                    tokens[ref.key] = evolve(stored, info=evolve(stored.info, last_used_at=latest))

        await self._database.transact(work, self._clock)

    async def count_health(
        self, tenant_id, buffer, suspicion=MOST_CONFIRMATION, notice=RECONNECT_NOTICE, most=MOST_COUNTED
    ):
        now = self._clock.now()
        counts = Counter(
            (info.key.provider, info.health(now, buffer, suspicion, notice))
            for info in self._infos()
            if tenant_id in (None, info.key.tenant_id)
        )
        return [HealthCount(provider, health, count) for (provider, health), count in counts.items()]

    async def ping(self):
        """Return at once, because a dictionary always answers."""

    def _infos(self):
        return [stored.info for stored in self._database.tables.tokens.values()]


def by_key(key):
    return (key.provider, key.identifier or "", key.kind.value)


def _by_rejection(info):
    return (info.rejected_at, info.key.tenant_id, info.key.identifier or "", info.key.kind.value)


def _by_expiry(info):
    return ((info.expires_at - EPOCH) // timedelta(microseconds=1), info.key.tenant_id, info.id.hex)
