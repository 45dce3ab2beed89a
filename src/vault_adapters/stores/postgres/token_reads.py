"""Answers a batch of reads. A token that the caller remembers is read again only if its row has changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attrs import evolve

from vault_adapters.stores.batching import Asked
from vault_adapters.stores.postgres import citus_tokens
from vault_adapters.stores.postgres.cursors import Row
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.readers import Reader
from vault_adapters.stores.postgres.rows import answers_of, in_order, key_parameters, keys_parameters, stored_token
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import TokenKey
from vault_domain.entities.token import WRONG_ROW, DamagedToken, StoredToken
from vault_domain.ports.accounts import Reading


class TokenReads:
    """Reads tokens by their keys.

    Args:
        database: runs the queries.
        queries: the queries.
        last_uses: remembers when tokens were last used, if Citus distributes the tables.
    """

    def __init__(self, database: PostgresDatabase, queries: Queries, last_uses: citus_tokens.LastUses) -> None:
        self._database = database
        self._queries = queries
        self._last_uses = last_uses

    async def read(self, reader: Reader, asked: Sequence[Asked]) -> list[Reading]:
        """Read one token for each question; see `Accounts.get`."""
        now = self._database.now()
        known = [row for _, row in asked if row is not None]
        if len(known) < len(asked):
            # An unknown row must be read whole. Reading all rows in the same query saves the query for versions.
            return await self._whole(reader, [key for key, _ in asked], now)
        readings = await self._unchanged(reader, asked, known, now)
        changed = [at for at, reading in enumerate(readings) if reading is None]
        if not changed:
            return [reading for reading in readings if reading is not None]
        others = iter(await self._whole(reader, [asked[at][0] for at in changed], now))
        return [next(others) if reading is None else reading for reading in readings]

    async def _unchanged(
        self, reader: Reader, asked: Sequence[Asked], known: Sequence[StoredToken], now: datetime | None
    ) -> list[Reading | None]:
        """Return the remembered rows, with None in place of each row that must be read again."""
        keys = [key for key, _ in asked]
        if len(keys) == 1:
            found = await reader.fetch(self._queries["get_version"], key_parameters(keys[0]) | {"now": now})
        else:
            found = in_order(await reader.fetch(self._queries["get_versions"], keys_parameters(keys) | {"now": now}))
        if len(found) != len(keys):
            return [None] * len(keys)  # the query for one key found no row, or a key has several rows
        _, _, moment, *_ = found[0]
        return [
            Reading(_used(row, last_used_at), moment) if version == row.version else None
            for row, (version, last_used_at, *_) in zip(known, found, strict=True)
        ]

    async def _whole(self, reader: Reader, keys: Sequence[TokenKey], now: datetime | None) -> list[Reading]:
        if len(keys) == 1:
            [key] = keys
            row, *others = await self._row(reader, key, now)
            token, (moment, *_) = stored_token(row, key)
            return [Reading.of(DamagedToken(key, WRONG_ROW) if others else token, moment)]
        found, moment = await self.read_many(reader, keys, now)
        return [Reading.of(token, moment) for token in found]

    async def read_many(
        self, reader: Reader, keys: Sequence[TokenKey], now: datetime | None
    ) -> tuple[list[StoredToken | DamagedToken | None], datetime]:
        """Return the token of each of several keys, and the store's time."""
        if self._database.is_distributed:
            rows = await citus_tokens.read_tokens(reader, self._queries, keys, now)
        else:
            rows = await reader.fetch(self._queries["get_tokens"], keys_parameters(keys) | {"now": now})
        return answers_of(rows, keys)

    async def _row(self, reader: Reader, key: TokenKey, now: datetime | None) -> list[Row]:
        parameters = key_parameters(key)
        if self._database.is_distributed:
            return await citus_tokens.read_token(reader, self._queries, self._last_uses, parameters, now)
        return await reader.fetch(self._queries["get_token"], parameters | {"now": now})


def _used(row: StoredToken, last_used_at: datetime | None) -> StoredToken:
    """Return the row with this time of its last use."""
    if row.info.last_used_at == last_used_at:
        return row
    return evolve(row, info=evolve(row.info, last_used_at=last_used_at))
