"""Lists and counts of tokens and accounts on SQLite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from vault_adapters.stores.columns import (
    PLACE_OF_ACCOUNT,
    list_of,
    owner_of,
    place_by_expiry,
    place_by_key,
    place_by_rejection,
)
from vault_adapters.stores.counting import health_counts, sampled_rows
from vault_adapters.stores.damage import sound_page
from vault_adapters.stores.sqlite.account_rows import listed_account
from vault_adapters.stores.sqlite.rows import (
    account_parameters,
    listed_info,
    to_micros,
    to_time,
)
from vault_domain.entities.measures import AccountCount
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import (
    RECONNECT_NOTICE,
)
from vault_domain.ports.pages import MOST_COUNTED, Condemned, Ending, Owned

if TYPE_CHECKING:
    from vault_adapters.stores.queries import Queries
    from vault_adapters.stores.sqlite.database import Row, SqliteDatabase
    from vault_domain.entities.account import Account
    from vault_domain.entities.page import Cursor
    from vault_domain.entities.refresh_state import AccountRecord
    from vault_domain.entities.reports import HealthCount
    from vault_domain.entities.token import (
        TokenInfo,
    )
    from vault_domain.ports.pages import AccountQuery, TokenQuery

_MICROSECOND = timedelta(microseconds=1)


_Listing = tuple[str, dict[str, Any], tuple[Any, ...], Callable[[Sequence[Any]], tuple[Any, ...]]]

_BY_EXPIRY = ("after_expires_at", "after_tenant_id", "after_id")
_PLACES = {
    "list_tokens": ("after_provider", "after_identifier", "after_kind"),
    "find_condemned_tokens": ("since", "after_tenant_id", "after_identifier", "after_kind"),
    "find_ending_tokens": _BY_EXPIRY,
    "find_expiring_tokens": _BY_EXPIRY,
}
"""By the name of a statement that lists tokens, the parameters that name a position in its list."""


class SqlitePages:
    """Implements `Pages`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def tokens(self, query: TokenQuery, *, limit: int, after: Cursor | None) -> list[TokenInfo]:
        """List tokens in the order of the query."""
        name, parameters, start, place = _listing(query, after, self._database.now())

        async def fetch(position: tuple[Any, ...], wanted: int) -> list[Row]:
            page = dict(zip(_PLACES[name], position, strict=True))
            return await self._database.fetch(self._queries[name], parameters | page | {"limit": wanted})

        def decode(row: Row) -> TokenInfo:
            return listed_info(row, parameters.get("tenant_id"), parameters["provider"])

        return await sound_page(fetch, decode, place, start, limit)

    async def accounts(
        self, query: AccountQuery, *, limit: int, after: Cursor | None
    ) -> tuple[list[AccountRecord], datetime]:
        """List accounts, sorted by (tenant_id, provider, identifier)."""
        now = self._database.now()
        name, sought = list_of(query)
        wanted = {**sought, "tenant_id": query.tenant_id, "provider": query.provider, "now": to_micros(now)}

        async def fetch(position: Sequence[Any], number: int) -> list[list[Row]]:
            page = dict(zip(PLACE_OF_ACCOUNT, position, strict=True))
            rows = await self._database.fetch(self._queries[name], {**wanted, **page, "limit": number})
            return [list(group) for _, group in groupby(rows, key=owner_of)]

        found = await sound_page(
            fetch,
            lambda rows: listed_account(rows, query.tenant_id, query.provider),
            lambda rows: owner_of(rows[-1]),
            after or ("", "", ""),
            limit,
        )
        return found, now

    async def tenants(self, *, limit: int, after: str | None) -> list[str]:
        """List the tenants that have a token, sorted by their ids."""
        parameters = {"after": after or "", "limit": limit}
        return [tenant_id for (tenant_id,) in await self._database.fetch(self._queries["list_tenants"], parameters)]

    async def count_accounts(self) -> list[AccountCount]:
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

    async def count_health(
        self,
        tenant_id: str | None,
        buffer: timedelta,
        suspicion: timedelta = MOST_CONFIRMATION,
        notice: timedelta = RECONNECT_NOTICE,
        most: int = MOST_COUNTED,
    ) -> list[HealthCount]:
        """Count tokens by provider and health."""
        parameters = {"tenant_id": tenant_id, "now": to_micros(self._database.now())}
        parameters |= {"buffer": buffer // _MICROSECOND, "suspicion": suspicion // _MICROSECOND}
        parameters |= {"notice": notice // _MICROSECOND}
        step, places = 1, 0
        if tenant_id is None:
            [(highest,)] = await self._database.fetch(self._queries["measure_tokens"], {})
            step, places = sampled_rows(highest, most)
        rows = await self._database.fetch(self._queries["count_health"], parameters | {"step": step, "places": places})
        return health_counts(rows)


def _listing(query: TokenQuery, after: Cursor | None, now: datetime) -> _Listing:
    """Return the name of a query's statement, its parameters, its first position, and the place of a row."""
    if isinstance(query, Owned):
        wanted: dict[str, Any] = {"tenant_id": query.tenant_id, "provider": query.provider}
        return "list_tokens", wanted, after or ("", "", ""), place_by_key
    if isinstance(query, Condemned):
        wanted = {
            "provider": query.provider,
            "tenant_id": query.tenant_id,
            "until": to_micros(query.until),
            "client": query.client,
            "stored_since": to_micros(query.stored_since) or 0,
        }
        since = (to_micros(query.since) or 0, "", "", "")
        return "find_condemned_tokens", wanted, after or since, place_by_rejection
    expires_at, tenant_id, id_hex = after or (-1, "", "")
    first = (expires_at, tenant_id, _bytes(str(id_hex)))
    if isinstance(query, Ending):
        wanted = {"now": to_micros(now), "notice": query.notice // _MICROSECOND, "provider": None}
        return "find_ending_tokens", wanted, first, place_by_expiry
    wanted = {"until": to_micros(now + query.within), "provider": query.provider}
    return "find_expiring_tokens", wanted, first, place_by_expiry


def _bytes(id_hex: str) -> bytes:
    try:
        return bytes.fromhex(id_hex)
    except ValueError:
        return b""  # a forged cursor; it changes only the position within the caller's own listing
