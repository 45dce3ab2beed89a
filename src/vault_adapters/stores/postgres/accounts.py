"""Accounts on Postgres."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from vault_adapters.stores.columns import PLACE_OF_ACCOUNT, account_of, list_of, owner_of, range_of
from vault_adapters.stores.damage import sound_page
from vault_adapters.stores.postgres.cursors import Row, int8
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.rows import (
    account_parameters,
    account_record,
    has_token,
    listed_account,
    time_of,
)
from vault_adapters.stores.postgres.statements import planned_once
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import Account, ConnectionState
from vault_domain.entities.measures import AccountCount
from vault_domain.entities.page import Cursor
from vault_domain.entities.refresh_state import AccountRecord


class PostgresAccountRepository:
    """Implements `AccountRepository`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def get(self, account: Account) -> tuple[AccountRecord | None, datetime]:
        """Read an account in one statement."""
        parameters = account_parameters(account) | {"now": self._database.now()}
        return account_record(await self._database.fetch(self._queries["get_account"], parameters), account)

    async def list_tenant(
        self, tenant_id: str, *, provider: str | None, limit: int, after: Cursor | None
    ) -> tuple[list[AccountRecord], datetime]:
        """List a tenant's accounts, sorted by (provider, identifier)."""
        parameters = {"tenant_id": tenant_id, "provider": provider, "now": self._database.now()}
        times: list[datetime] = []

        async def fetch(position: Sequence[Any], wanted: int) -> list[list[Row]]:
            page = dict(zip(("after_provider", "after_identifier"), position, strict=True))
            rows = await self._database.fetch(
                self._queries["list_accounts"], parameters | page | {"limit": int8(wanted)}
            )
            times.append(time_of(rows))
            return [list(group) for _, group in groupby(filter(has_token, rows), key=account_of)]

        found = await sound_page(
            fetch,
            lambda rows: listed_account(rows, tenant_id, provider),
            lambda rows: account_of(rows[-1]),
            after or ("", ""),
            limit,
        )
        return found, times[0]

    async def list_all(
        self, *, provider: str | None, state: ConnectionState | None, limit: int, after: Cursor | None
    ) -> tuple[list[AccountRecord], datetime]:
        """List all tenants' accounts, sorted by (tenant_id, provider, identifier)."""
        return await self._across(list_of(state, provider), {"provider": provider}, limit, after)

    async def find(self, text: str, *, limit: int, after: Cursor | None) -> tuple[list[AccountRecord], datetime]:
        """List the accounts that a text names, sorted by (tenant_id, provider, identifier)."""
        return await self._across("find_accounts", {"provider": None, **range_of(text)}, limit, after)

    async def _across(
        self, query: str, wanted: dict[str, Any], limit: int, after: Cursor | None
    ) -> tuple[list[AccountRecord], datetime]:
        now = self._database.now()
        times: list[datetime] = []

        async def fetch(position: Sequence[Any], number: int) -> list[list[Row]]:
            page = dict(zip(PLACE_OF_ACCOUNT, position, strict=True))
            sql = planned_once(self._queries[query], number, now)
            rows = await self._database.fetch(sql, {**wanted, **page, "now": now})
            times.append(time_of(rows))
            found = sorted(filter(has_token, rows), key=owner_of)
            return [list(group) for _, group in groupby(found, key=owner_of)]

        found = await sound_page(
            fetch,
            lambda rows: listed_account(rows, None, wanted["provider"]),
            lambda rows: owner_of(rows[-1]),
            after or ("", "", ""),
            limit,
        )
        return found, times[0]

    async def list_tenants(self, *, limit: int, after: str | None) -> list[str]:
        """List the tenants that have a token, sorted by their ids."""
        parameters = {"after": after or "", "limit": int8(limit)}
        return [tenant_id for (tenant_id,) in await self._database.fetch(self._queries["list_tenants"], parameters)]

    async def count_all(self) -> list[AccountCount]:
        """Count all tenants' accounts, and those that are due now, by provider."""
        rows = await self._database.fetch(self._queries["count_all_accounts"], {"now": self._database.now()})
        return [
            AccountCount(provider, accounts, due, timedelta(0) if earliest is None else now - earliest)
            for provider, accounts, due, earliest, now in rows
        ]

    async def has_sibling(self, account: Account) -> bool:
        """Return whether another tenant has an access or refresh token under the same provider and identifier."""
        [(found,)] = await self._database.fetch(self._queries["has_sibling"], account_parameters(account))
        return bool(found)
