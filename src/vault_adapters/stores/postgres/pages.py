"""Lists and counts of tokens and accounts on Postgres."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from vault_adapters.stores.columns import (
    PLACE_OF_ACCOUNT,
    list_of,
    owner_of,
    place_by_expiry,
    place_by_key,
    place_by_rejection,
)
from vault_adapters.stores.counting import health_counts, sampled_percent
from vault_adapters.stores.damage import sound_page
from vault_adapters.stores.postgres.cursors import Row, int8
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.rows import (
    MICROSECOND,
    account_parameters,
    has_token,
    listed_account,
    listed_info,
    micros,
    time_of,
)
from vault_adapters.stores.postgres.statements import planned_once
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import Account
from vault_domain.entities.measures import AccountCount
from vault_domain.entities.page import Cursor
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.reports import HealthCount
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import (
    RECONNECT_NOTICE,
    TokenInfo,
)
from vault_domain.ports.pages import MOST_COUNTED, AccountQuery, Condemned, Ending, Owned, TokenQuery

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICROS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // MICROSECOND

_Listing = tuple[str, dict[str, Any], tuple[Any, ...], Callable[[Sequence[Any]], tuple[Any, ...]]]

_BY_EXPIRY = ("after_expires_at", "after_tenant_id", "after_id")
_PLACES = {
    "list_tokens": ("after_provider", "after_identifier", "after_kind"),
    "find_condemned_tokens": ("since", "after_tenant_id", "after_identifier", "after_kind"),
    "find_ending_tokens": _BY_EXPIRY,
    "find_expiring_tokens": _BY_EXPIRY,
}
"""By the name of a statement that lists tokens, the parameters that name a position in its list."""


class PostgresPages:
    """Implements `Pages`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def tokens(self, query: TokenQuery, *, limit: int, after: Cursor | None) -> list[TokenInfo]:
        """List tokens in the order of the query."""
        name, wanted, start, place = _listing(query, after)
        parameters = wanted | {"now": self._database.now()}

        async def fetch(position: tuple[Any, ...], number: int) -> list[Row]:
            page = dict(zip(_PLACES[name], position, strict=True))
            return await self._database.fetch(self._queries[name], parameters | page | {"limit": int8(number)})

        def decode(row: Row) -> TokenInfo:
            return listed_info(row, wanted.get("tenant_id"), wanted["provider"])

        return await sound_page(fetch, decode, place, start, limit)

    async def accounts(
        self, query: AccountQuery, *, limit: int, after: Cursor | None
    ) -> tuple[list[AccountRecord], datetime]:
        """List accounts, sorted by (tenant_id, provider, identifier)."""
        now = self._database.now()
        name, sought = list_of(query)
        wanted = {**sought, "tenant_id": query.tenant_id, "provider": query.provider, "now": now}
        times: list[datetime] = []

        async def fetch(position: Sequence[Any], number: int) -> list[list[Row]]:
            page = dict(zip(PLACE_OF_ACCOUNT, position, strict=True))
            sql = self._queries[name] if query.tenant_id else planned_once(self._queries[name], number, now)
            rows = await self._database.fetch(sql, {**wanted, **page, "limit": int8(number)})
            times.append(time_of(rows))
            found = sorted(filter(has_token, rows), key=owner_of)
            return [list(group) for _, group in groupby(found, key=owner_of)]

        found = await sound_page(
            fetch,
            lambda rows: listed_account(rows, query.tenant_id, query.provider),
            lambda rows: owner_of(rows[-1]),
            after or ("", "", ""),
            limit,
        )
        return found, times[0]

    async def tenants(self, *, limit: int, after: str | None) -> list[str]:
        """List the tenants that have a token, sorted by their ids."""
        parameters = {"after": after or "", "limit": int8(limit)}
        return [tenant_id for (tenant_id,) in await self._database.fetch(self._queries["list_tenants"], parameters)]

    async def count_accounts(self) -> list[AccountCount]:
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

    async def count_health(
        self,
        tenant_id: str | None,
        buffer: timedelta,
        suspicion: timedelta = MOST_CONFIRMATION,
        notice: timedelta = RECONNECT_NOTICE,
        most: int = MOST_COUNTED,
    ) -> list[HealthCount]:
        """Count tokens by provider and health."""
        parameters = {"tenant_id": tenant_id, "now": self._database.now()}
        parameters |= {"buffer": micros(buffer), "suspicion": micros(suspicion), "notice": micros(notice)}
        percent = 100.0
        if tenant_id is None:
            for (blocks,) in await self._database.fetch(self._queries["measure_tokens"], {}):
                percent = sampled_percent(blocks, most)
        rows = await self._database.fetch(self._queries["count_health"], parameters | {"percent": percent})
        return health_counts(rows)


def _listing(query: TokenQuery, after: Cursor | None) -> _Listing:
    """Return the name of a query's statement, its parameters, its first position, and the place of a row."""
    if isinstance(query, Owned):
        wanted: dict[str, Any] = {"tenant_id": query.tenant_id, "provider": query.provider}
        return "list_tokens", wanted, after or ("", "", ""), place_by_key
    if isinstance(query, Condemned):
        wanted = {
            "provider": query.provider,
            "tenant_id": query.tenant_id,
            "until": query.until,
            "client": query.client,
            "stored_since": query.stored_since or _EPOCH,
        }
        since = (query.since, "", "", "") if after is None else (_time(after[0]), *after[1:])
        return "find_condemned_tokens", wanted, since, place_by_rejection
    expires_at, tenant_id, id_hex = after or (-1, "", "")
    first = (_time(expires_at), tenant_id, _uuid(str(id_hex)))
    if isinstance(query, Ending):
        return "find_ending_tokens", {"notice": micros(query.notice), "provider": None}, first, place_by_expiry
    return (
        *("find_expiring_tokens", {"within": micros(query.within), "provider": query.provider}),
        *(first, place_by_expiry),
    )


def _time(microseconds: str | int) -> datetime:
    return _EPOCH + min(max(int(microseconds), -1), _LAST_MICROS) * MICROSECOND


def _uuid(id_hex: str) -> UUID:
    try:
        return UUID(hex=id_hex)
    except ValueError:
        return UUID(int=0)  # a forged cursor; it changes only the position within the caller's own listing
