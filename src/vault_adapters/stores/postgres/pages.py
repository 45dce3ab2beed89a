"""Lists and counts of tokens and accounts on Postgres."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from vault_adapters.stores.columns import owner_of
from vault_adapters.stores.counting import health_counts, sampled_percent
from vault_adapters.stores.listing import Types, list_accounts, list_tokens
from vault_adapters.stores.postgres.cursors import Row, int8
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.rows import (
    MICROSECOND,
    has_token,
    listed_account,
    listed_info,
    micros,
    time_of,
)
from vault_adapters.stores.postgres.statements import planned_once
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import Account, stored_account
from vault_domain.entities.measures import AccountCount
from vault_domain.entities.page import Cursor
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.reports import HealthCount
from vault_domain.entities.suspicion import MOST_CONFIRMATION
from vault_domain.entities.token import (
    RECONNECT_NOTICE,
    TokenInfo,
)
from vault_domain.ports.pages import MOST_COUNTED, AccountQuery, AnswerPlace, TokenQuery

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICROS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // MICROSECOND


def _time(microseconds: int) -> datetime:
    return _EPOCH + min(max(microseconds, -1), _LAST_MICROS) * MICROSECOND


_TYPES = Types(lambda time: time, micros, _time, lambda id_: id_)


class PostgresPages:
    """Implements `Pages`."""

    def __init__(self, database: PostgresDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries

    async def tokens(self, query: TokenQuery, *, limit: int, after: Cursor | None) -> list[TokenInfo]:
        """List tokens in the order of the query."""
        clock = {"now": self._database.now()}

        async def fetch(name: str, parameters: dict[str, Any], wanted: int) -> list[Row]:
            return await self._database.fetch(self._queries[name], parameters | clock | {"limit": int8(wanted)})

        return await list_tokens(query, limit, after, _TYPES, fetch, listed_info)

    async def accounts(
        self, query: AccountQuery, *, limit: int, after: Cursor | None
    ) -> tuple[list[AccountRecord], datetime]:
        """List accounts, sorted by (tenant_id, provider, identifier)."""
        now = self._database.now()
        times: list[datetime] = []

        async def fetch(name: str, parameters: dict[str, Any], wanted: int) -> list[Row]:
            sql = self._queries[name] if query.tenant_id else planned_once(self._queries[name], wanted, now)
            rows = await self._database.fetch(sql, parameters | {"now": now, "limit": int8(wanted)})
            times.append(time_of(rows))
            return sorted(filter(has_token, rows), key=owner_of)

        found = await list_accounts(query, limit, after, fetch, listed_account)
        return found, times[0]

    async def kept_answers(self, *, limit: int, after: AnswerPlace | None) -> list[tuple[Account, AnswerPlace]]:
        """List the accounts for which an answer is kept, the oldest answer first."""
        kept_at, attempt_id = after or (_EPOCH, UUID(int=0))
        parameters = {"kept_at": kept_at, "attempt_id": attempt_id, "limit": int8(limit)}
        rows = await self._database.fetch(self._queries["list_kept_answers"], parameters)
        return [(stored_account(*place), (at, own_id)) for *place, at, own_id in rows]

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
