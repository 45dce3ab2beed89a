"""Lists and counts of tokens and accounts on SQLite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from vault_adapters.stores.counting import health_counts, sampled_rows
from vault_adapters.stores.damage import sound
from vault_adapters.stores.listing import Types, list_accounts, list_tokens
from vault_adapters.stores.sqlite.account_rows import listed_account
from vault_adapters.stores.sqlite.rows import (
    listed_info,
    to_micros,
    to_time,
)
from vault_domain.entities.account import stored_account
from vault_domain.entities.measures import AccountCount
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import (
    RECONNECT_NOTICE,
)
from vault_domain.ports.pages import MOST_COUNTED

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
    from vault_domain.ports.pages import AccountQuery, AnswerPlace, TokenQuery

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


_TYPES = Types(
    time=to_micros, span=lambda span: span // _MICROSECOND, moment=lambda micros: micros, id=lambda id_: id_.bytes
)


class SqlitePages:
    """Implements `Pages`."""

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def tokens(self, query: TokenQuery, *, limit: int, after: Cursor | None) -> list[TokenInfo]:
        """List tokens in the order of the query."""
        clock = {"now": to_micros(self._database.now())}

        async def fetch(name: str, parameters: dict[str, Any], wanted: int) -> list[Row]:
            return await self._database.fetch(self._queries[name], parameters | clock | {"limit": wanted})

        return await list_tokens(query, limit, after, _TYPES, fetch, listed_info)

    async def accounts(
        self, query: AccountQuery, *, limit: int, after: Cursor | None
    ) -> tuple[list[AccountRecord], datetime]:
        """List accounts, sorted by (tenant_id, provider, identifier)."""
        now = self._database.now()

        async def fetch(name: str, parameters: dict[str, Any], wanted: int) -> list[Row]:
            clock = {"now": to_micros(now), "limit": wanted}
            return await self._database.fetch(self._queries[name], parameters | clock)

        return await list_accounts(query, limit, after, fetch, listed_account), now

    async def kept_answers(self, *, limit: int, after: AnswerPlace | None) -> list[tuple[Account, AnswerPlace]]:
        """List the accounts for which an answer is kept, the oldest answer first."""
        kept_at, attempt_id = after or (_EPOCH, UUID(int=0))
        parameters = {"kept_at": to_micros(kept_at), "attempt_id": attempt_id.bytes, "limit": limit}
        return sound(await self._database.fetch(self._queries["list_kept_answers"], parameters), _kept)

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


def _kept(row: Row) -> tuple[Account, AnswerPlace]:
    *place, kept_at, attempt_id = row
    return stored_account(*place), (_EPOCH + kept_at * _MICROSECOND, UUID(bytes=attempt_id))
