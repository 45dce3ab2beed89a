"""Accounts on SQLite."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from vault_adapters.stores.columns import PLACE_OF_ACCOUNT, account_of, list_of, owner_of
from vault_adapters.stores.damage import sound_page
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.audit import append_events
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import account_parameters, account_record, listed_account, to_micros, to_time
from vault_adapters.stores.sqlite.tokens import deletion_events, write_tokens
from vault_domain.entities.account import Account, ConnectionState
from vault_domain.entities.measures import AccountCount
from vault_domain.entities.page import Cursor
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.token import TokenWrite
from vault_domain.ports.change import Change


class SqliteAccountRepository:
    """Implements `AccountRepository`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def get(self, account: Account) -> tuple[AccountRecord | None, datetime]:
        """Read an account in one statement."""
        rows = await self._database.fetch(self._queries["get_account"], account_parameters(account))
        return account_record(rows, account), self._database.now()

    async def list_tenant(
        self, tenant_id: str, *, provider: str | None, limit: int, after: Cursor | None
    ) -> tuple[list[AccountRecord], datetime]:
        """List a tenant's accounts, sorted by (provider, identifier)."""

        async def fetch(position: Sequence[Any], wanted: int) -> list[list[Row]]:
            parameters = {"tenant_id": tenant_id, "provider": provider, "limit": wanted}
            page = dict(zip(("after_provider", "after_identifier"), position, strict=True))
            rows = await self._database.fetch(self._queries["list_accounts"], parameters | page)
            return [list(group) for _, group in groupby(rows, key=account_of)]

        found = await sound_page(
            fetch,
            lambda rows: listed_account(rows, tenant_id, provider),
            lambda rows: account_of(rows[-1]),
            after or ("", ""),
            limit,
        )
        return found, self._database.now()

    async def list_all(
        self, *, provider: str | None, state: ConnectionState | None, limit: int, after: Cursor | None
    ) -> tuple[list[AccountRecord], datetime]:
        """List all tenants' accounts, sorted by (tenant_id, provider, identifier)."""
        now = self._database.now()

        async def fetch(position: Sequence[Any], wanted: int) -> list[list[Row]]:
            parameters = {"provider": provider, "limit": wanted, "now": to_micros(now)}
            page = dict(zip(PLACE_OF_ACCOUNT, position, strict=True))
            rows = await self._database.fetch(self._queries[list_of(state, provider)], parameters | page)
            return [list(group) for _, group in groupby(rows, key=owner_of)]

        found = await sound_page(
            fetch,
            lambda rows: listed_account(rows, None, provider),
            lambda rows: owner_of(rows[-1]),
            after or ("", "", ""),
            limit,
        )
        return found, now

    async def list_tenants(self, *, limit: int, after: str | None) -> list[str]:
        """List the tenants that have a token, sorted by their ids."""
        parameters = {"after": after or "", "limit": limit}
        return [tenant_id for (tenant_id,) in await self._database.fetch(self._queries["list_tenants"], parameters)]

    async def count_all(self) -> list[AccountCount]:
        """Count all tenants' accounts, and those that are due now, by provider."""
        now = self._database.now()
        rows = await self._database.fetch(self._queries["count_all_accounts"], {"now": to_micros(now)})
        return [
            AccountCount(provider, accounts, due, now - (to_time(earliest) or now))
            for provider, accounts, due, earliest in rows
        ]

    async def has_sibling(self, account: Account) -> bool:
        """Return whether another tenant has an access or refresh token under the same provider and identifier."""
        [(found,)] = await self._database.fetch(self._queries["has_sibling"], account_parameters(account))
        return bool(found)

    async def store_set(
        self, account: Account, writes: Sequence[TokenWrite], *, label: str | None, actor: str | None
    ) -> Change[tuple[AccountRecord, datetime]]:
        """Store an account's tokens in one transaction and end its backoff and unknown outcome."""

        async def work(transaction: Transaction) -> Change[tuple[AccountRecord, datetime]]:
            parameters = account_parameters(account)
            written = await write_tokens(transaction, self._queries, writes, actor)
            if label is not None:
                await transaction.execute(self._queries["label_account"], parameters | {"label": label})
            await transaction.execute(self._queries["end_backoff"], parameters | {"now": to_micros(transaction.now)})
            record = account_record(await transaction.fetch(self._queries["get_account"], parameters), account)
            assert record is not None  # noqa: S101 - its tokens were just written
            return Change((record, transaction.now), written.events)

        return await self._database.transact(work)

    async def delete(self, account: Account, *, actor: str | None) -> Change[int]:
        """Delete an account's tokens, label and refresh state in one transaction."""

        async def work(transaction: Transaction) -> Change[int]:
            parameters = account_parameters(account)
            # Read only what the events need, so that an account with a damaged row can be deleted too.
            rows = await transaction.fetch(self._queries["list_account_generations"], parameters)
            await transaction.execute(self._queries["delete_account_tokens"], parameters)
            await transaction.execute(self._queries["delete_orphaned_account"], parameters)
            events = deletion_events(rows, account.tenant_id, account.provider, transaction, actor)
            await append_events(transaction, self._queries, events)
            return Change(len(events), tuple(events))

        return await self._database.transact(work)
