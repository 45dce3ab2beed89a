"""Accounts."""

from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase

from tests.examples.dict_store.database import Port, page

from vault_domain.entities.account import TokenKind
from vault_domain.entities.account_state import AccountRow
from vault_domain.entities.measures import AccountCount
from vault_domain.entities.refresh_state import AccountRecord

_NO_ROW = AccountRow()


class DictAccountRepository(Port):
    """Implements `AccountRepository`."""

    async def get(self, account):
        return account_record(self._tables, account), self._clock.now()

    async def list_tenant(self, tenant_id, *, provider, limit, after):
        own = {account for account in self._at(provider) if account.tenant_id == tenant_id}
        return self._page(own, _place, limit, after)

    async def list_all(self, *, provider, state, limit, after):
        return self._page(self._at(provider), _owner, limit, after)

    async def find(self, text, *, limit, after):
        rows, lower = self._tables.accounts, dict(zip(map(ord, ascii_uppercase), ascii_lowercase, strict=True))
        found = {
            account
            for account in self._at(None)
            if account.provider == text
            or (account.identifier or "").translate(lower).startswith(text)
            or (rows.get(account, _NO_ROW).label or "").translate(lower).startswith(text)
        }
        return self._page(found, _owner, limit, after)

    def _at(self, provider):
        return {key.account for key in self._tables.tokens if provider in (None, key.provider)}

    def _page(self, accounts, place, limit, after):
        found = page(accounts, place, limit, after)
        return [account_record(self._tables, account) for account in found], self._clock.now()

    async def list_tenants(self, *, limit, after):
        return page({key.tenant_id for key in self._tables.tokens}, str, limit, after)

    async def count_all(self):
        tables, now = self._tables, self._clock.now()
        accounts = {key.account for key in tables.tokens}
        due = {account: row.due_at for account, row in tables.accounts.items() if row.due_at and row.due_at <= now}
        found = []
        for provider in sorted({account.provider for account in accounts}):
            times = [due_at for account, due_at in due.items() if account.provider == provider]
            number = sum(account.provider == provider for account in accounts)
            found.append(AccountCount(provider, number, len(times), now - min(times, default=now)))
        return found

    async def has_sibling(self, account):
        kinds = (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)
        place = (account.provider, account.identifier)
        return any(
            (key.provider, key.identifier) == place and key.tenant_id != account.tenant_id and key.kind in kinds
            for key in self._tables.tokens
        )


def rows_of(tables, account):
    """Return an account's tokens by kind."""
    rows, tokens = {}, tables.tokens
    for key in _all_keys(account):
        row = tokens.get(key)
        if row is not None:
            rows[key.kind] = row
    return rows


@lru_cache(maxsize=10_000)
def _all_keys(account):
    return tuple(map(account.key, TokenKind))


def account_record(tables, account, rows=None):
    rows = rows_of(tables, account) if rows is None else rows
    if not rows:
        return None
    row = tables.accounts.get(account, _NO_ROW)
    return AccountRecord(account, {kind: stored.info for kind, stored in rows.items()}, row.label, row.refresh)


def _place(account):
    return (account.provider, account.identifier or "")


def _owner(account):
    return (account.tenant_id, *_place(account))
