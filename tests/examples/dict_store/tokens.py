"""Storing, finding and deleting tokens."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from attrs import evolve
from tests.examples.dict_store.clients import is_of_client, stored_at_least

from vault_domain.entities.account import TokenKind
from vault_domain.entities.account_state import AccountRow
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.key_records import DataKeyState
from vault_domain.entities.reports import HealthCount
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import RECONNECT_NOTICE, StoredToken, TokenInfo, TokenStatus
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.token_repository import MOST_COUNTED, Reading
from vault_domain.rules.schedule import accounts_due
from vault_domain.transitions.values import is_ending

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
        return await self._database.transact(lambda transaction: write_tokens(transaction, writes, actor), self._clock)

    async def store_many(self, writes, *, actor):
        return await self.store(writes.take(range(len(writes.keys))), actor=actor)

    async def delete_provider(self, tenant_id, provider, *, actor):
        def work(transaction):
            keys = [key for key in transaction.tables.tokens if (key.tenant_id, key.provider) == (tenant_id, provider)]
            events = delete_tokens(transaction, keys, actor)
            return Change(len(events), events)

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


def write_tokens(transaction, writes, actor):
    """Insert or replace values, schedule their accounts and append the events."""
    infos = put_tokens(transaction, writes)
    events = tuple(
        token_event(
            AuditAction.TOKEN_REFRESHED if write.refreshed else AuditAction.TOKEN_STORED, info, transaction, actor
        )
        for write, info in zip(writes, infos, strict=True)
    )
    transaction.append(events)
    return Change(infos, events)


def put_tokens(transaction, writes):
    """Insert or replace values and schedule their accounts, without events."""
    require_active_data_keys(transaction, writes)
    infos = [_write(transaction, write) for write in writes]
    schedule_accounts(transaction, list(zip(writes, [info.expires_at for info in infos], strict=True)))
    return infos


def _write(transaction, write):
    tokens, now = transaction.tables.tokens, transaction.now
    stored = tokens.get(write.key)
    old = None if stored is None else stored.info
    expires_at = write.expires_at
    if expires_at is None and write.lifetime is not None:
        expires_at = now + write.lifetime
    scopes = write.scopes
    if scopes is None:
        scopes = () if old is None else old.scopes
    info = TokenInfo(
        id=uuid4() if old is None else old.id,
        key=write.key,
        status=TokenStatus.VALID,
        error_code=None,
        expires_at=expires_at,
        scopes=scopes,
        generation=1 if old is None else old.generation + 1,
        last_used_at=None if old is None else old.last_used_at,
        last_refreshed_at=now if write.refreshed or old is not None else None,
        lifetime=write.lifetime,
        created_at=now if old is None else old.created_at,
        updated_at=now,
        value_id=write.value_id or uuid4(),
        client=write.client,
    )
    tokens[write.key] = StoredToken(info, write.sealed)
    return info


def require_active_data_keys(transaction, writes):
    for write in writes:
        record = transaction.tables.data_keys.get((write.key.tenant_id, write.sealed.data_key_id))
        if record is None or record.state is not DataKeyState.ACTIVE:
            raise DataKeyInactiveError


def schedule_accounts(transaction, stored):
    """Make accounts due no later than their stored values require.

    Of an account's values, the access token decides. If no value requires a time, the account becomes due now, provided
    that its row exists.
    """
    accounts = transaction.tables.accounts
    for account, asked in accounts_due(stored, transaction.now).items():
        row = accounts.get(account)
        if asked is None and row is None:
            continue
        _make_due(transaction, account, asked or transaction.now)


def _make_due(transaction, account, due_at):
    row = transaction.tables.accounts.get(account) or AccountRow()
    if row.due_at is None or row.due_at > due_at:
        transaction.tables.accounts[account] = evolve(row, due_at=due_at)


def delete_tokens(transaction, keys, actor):
    """Delete tokens, and the rows of accounts that have no token left; return the events."""
    tokens = transaction.tables.tokens
    gone = [tokens.pop(key).info for key in keys if key in tokens]
    left = {key.account for key in tokens}
    for account in {info.key.account for info in gone} - left:
        transaction.tables.accounts.pop(account, None)
        transaction.tables.unread.pop(account, None)
    events = tuple(token_event(AuditAction.TOKEN_DELETED, info, transaction, actor) for info in gone)
    transaction.append(events)
    return events


def token_event(action, info, transaction, actor, code=None):
    return AuditEvent(
        action,
        transaction.now,
        tenant_id=info.key.tenant_id,
        account=info.key.account,
        kind=info.key.kind,
        generation=info.generation,
        actor=actor,
        code=code,
    )


def by_key(key):
    return (key.provider, key.identifier or "", key.kind.value)


def _by_rejection(info):
    return (info.rejected_at, info.key.tenant_id, info.key.identifier or "", info.key.kind.value)


def _by_expiry(info):
    return ((info.expires_at - EPOCH) // timedelta(microseconds=1), info.key.tenant_id, info.id.hex)
