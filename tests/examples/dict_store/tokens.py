"""Storing, finding and deleting tokens."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from attrs import evolve
from tests.examples.dict_store.account_states import change_each, change_state
from tests.examples.dict_store.clients import is_of_client, stored_at_least
from tests.examples.dict_store.database import Port, atomic, page

from vault_domain.entities.account import TokenKind
from vault_domain.entities.reports import HealthCount
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import RECONNECT_NOTICE, TokenStatus
from vault_domain.ports.change import Change
from vault_domain.ports.token_repository import MOST_COUNTED, Reading
from vault_domain.transitions.values import deleted, is_ending, stored

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DictTokenRepository(Port):
    """Implements `TokenRepository`."""

    async def get(self, key):
        return Reading(self._tables.tokens.get(key), self._clock.now())

    async def get_many(self, keys):
        tokens = self._tables.tokens
        return [tokens[key] for key in keys if key in tokens], self._clock.now()

    @atomic
    def store(self, transaction, writes, *, actor):
        named = [evolve(write, value_id=write.value_id or uuid4()) for write in writes]
        return change_each(transaction, named, lambda *given: stored(*given, actor))

    async def store_many(self, writes, *, actor):
        return await self.store(writes.take(range(len(writes.keys))), actor=actor)

    @atomic
    def delete_provider(self, transaction, tenant_id, provider, *, actor):
        keys = [key for key in transaction.tables.tokens if (key.tenant_id, key.provider) == (tenant_id, provider)]
        events = []
        for account in dict.fromkeys(key.account for key in keys):
            decision = change_state(transaction, account, lambda state, now: deleted(state, now, TokenKind, actor))
            events += decision.events
        return Change(len(events), tuple(events))

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
        ]
        return page(found, _by_expiry, limit, after)

    async def find_ending(self, notice, *, limit, after):
        now = self._clock.now()
        found = [
            row.info
            for row in self._tables.tokens.values()
            if row.key.kind is TokenKind.REFRESH_TOKEN and not row.is_end_told and is_ending(row.info, now, notice)
        ]
        return page(found, _by_expiry, limit, after)

    async def find_condemned(self, condemned, *, limit, after):
        client = condemned.client
        found = [
            info
            for info in self._infos()
            if info.key.provider == condemned.provider
            and condemned.tenant_id in (None, info.key.tenant_id)
            and info.status is TokenStatus.INVALID
            and info.rejected_at is not None
            and condemned.since <= info.rejected_at <= condemned.until
            and (client is None or is_of_client(self._tables, info, client, {None, client}))
            and stored_at_least(info, condemned.stored_since)
        ]
        return page(found, _by_rejection, limit, after and _by_rejection(after))

    async def list_tenant(self, tenant_id, *, provider, limit, after):
        own = [info for info in self._infos() if info.key.tenant_id == tenant_id]
        found = [info for info in own if provider in (None, info.key.provider)]
        return page(found, lambda info: by_key(info.key), limit, after)

    @atomic
    def record_uses(self, transaction, uses):
        tokens = transaction.tables.tokens
        for ref, used_at in uses.items():
            stored = tokens.get(ref.key)
            if stored is not None and stored.info.id == ref.id:
                latest = max(used_at, stored.info.last_used_at or used_at)
                tokens[ref.key] = evolve(stored, info=evolve(stored.info, last_used_at=latest))

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
        return [stored.info for stored in self._tables.tokens.values()]


def by_key(key):
    return (key.provider, key.identifier or "", key.kind.value)


def _by_rejection(info):
    return (info.rejected_at, info.key.tenant_id, info.key.identifier or "", info.key.kind.value)


def _by_expiry(info):
    return ((info.expires_at - EPOCH) // timedelta(microseconds=1), info.key.tenant_id, info.id.hex)
