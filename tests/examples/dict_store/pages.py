"""Lists and counts of tokens and accounts."""

from collections import Counter
from functools import singledispatch
from string import ascii_lowercase, ascii_uppercase

from tests.examples.dict_store.clients import is_of_client, stored_at_least
from tests.examples.dict_store.database import Port, page

from vault_domain.entities.account import TokenKind
from vault_domain.entities.account_state import AccountRow
from vault_domain.entities.measures import AccountCount
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.reports import HealthCount
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import RECONNECT_NOTICE, TokenStatus
from vault_domain.ports.pages import MOST_COUNTED, Condemned, Ending, Expiring, Owned, Refreshed
from vault_domain.transitions.values import is_ending

_NO_ROW = AccountRow()
_LOWER = dict(zip(map(ord, ascii_uppercase), ascii_lowercase, strict=True))


class DictPages(Port):
    """Implements `Pages`."""

    async def tokens(self, query, *, limit, after):
        now, tables = self._clock.now(), self._tables
        found = [row.info for row in tables.tokens.values() if _is_wanted(query, row, tables, now)]
        return page(found, query.place, limit, after)

    async def accounts(self, query, *, limit, after):
        tables = self._tables
        found = {
            account
            for account in (key.account for key in tables.tokens)
            if query.tenant_id in (None, account.tenant_id)
            and query.provider in (None, account.provider)
            and (query.text is None or _is_named(tables, account, query.text))
        }
        return [_record(tables, account) for account in page(found, _place, limit, after)], self._clock.now()

    async def tenants(self, *, limit, after):
        return page({key.tenant_id for key in self._tables.tokens}, str, limit, after)

    async def count_accounts(self):
        tables, now = self._tables, self._clock.now()
        totals = Counter(account.provider for account in {key.account for key in tables.tokens})
        due = [(each.provider, row.due_at) for each, row in tables.accounts.items() if row.due_at and row.due_at <= now]
        found = []
        for provider in sorted(totals):
            times = [due_at for owner, due_at in due if owner == provider]
            found.append(AccountCount(provider, totals[provider], len(times), now - min(times, default=now)))
        return found

    async def has_sibling(self, account):
        kinds = (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)
        place = (account.provider, account.identifier)
        return any(
            (key.provider, key.identifier) == place and key.tenant_id != account.tenant_id and key.kind in kinds
            for key in self._tables.tokens
        )

    async def count_health(
        self, tenant_id, buffer, suspicion=MOST_CONFIRMATION, notice=RECONNECT_NOTICE, most=MOST_COUNTED
    ):
        now = self._clock.now()
        counts = Counter(
            (row.key.provider, row.info.health(now, buffer, suspicion, notice))
            for row in self._tables.tokens.values()
            if tenant_id in (None, row.key.tenant_id)
        )
        return [HealthCount(provider, health, count) for (provider, health), count in counts.items()]


@singledispatch
def _is_wanted(query, row, tables, now):
    raise NotImplementedError


@_is_wanted.register
def _(query: Owned, row, tables, now):
    return row.key.tenant_id == query.tenant_id and query.provider in (None, row.key.provider)


@_is_wanted.register
def _(query: Expiring, row, tables, now):
    return (
        row.key.kind is TokenKind.ACCESS_TOKEN
        and row.info.status is TokenStatus.VALID
        and row.info.expires_at is not None
        and row.info.expires_at <= now + query.within
        and query.provider in (None, row.key.provider)
    )


@_is_wanted.register
def _(query: Ending, row, tables, now):
    return row.key.kind is TokenKind.REFRESH_TOKEN and not row.is_end_told and is_ending(row.info, now, query.notice)


@_is_wanted.register
def _(query: Condemned, row, tables, now):
    client = query.client
    return (
        row.key.provider == query.provider
        and query.tenant_id in (None, row.key.tenant_id)
        and row.info.status is TokenStatus.INVALID
        and row.info.rejected_at is not None
        and query.since <= row.info.rejected_at <= query.until
        and (client is None or is_of_client(tables, row.info, client, {None, client}))
        and stored_at_least(row.info, query.stored_since)
    )


@_is_wanted.register
def _(query: Refreshed, row, tables, now):
    at = row.info.last_refreshed_at
    return (
        (row.key.provider, row.key.kind) == (query.provider, TokenKind.ACCESS_TOKEN)
        and at is not None
        and at >= query.since
        and is_of_client(tables, row.info, query.client, {query.client})
    )


def _is_named(tables, account, text):
    names = (account.identifier, tables.accounts.get(account, _NO_ROW).label)
    return account.provider == text or any((name or "").translate(_LOWER).startswith(text) for name in names)


def _record(tables, account):
    infos = {key.kind: tables.tokens[key].info for key in map(account.key, TokenKind) if key in tables.tokens}
    row = tables.accounts.get(account, _NO_ROW)
    return AccountRecord(account, infos, row.label, row.refresh)


def _place(account):
    return (account.tenant_id, account.provider, account.identifier or "")
