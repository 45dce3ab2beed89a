"""Reads tokens by their keys. Tokens that the callers remember are read again only if the file has changed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from vault_adapters.stores.batching import Asked
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.sqlite.database import Row, SqliteDatabase
from vault_adapters.stores.sqlite.rows import key_parameters, keys_parameter, stored_token
from vault_domain.entities.account import TokenKey
from vault_domain.entities.token import WRONG_ROW, DamagedToken, StoredToken
from vault_domain.ports.readings import Reading


class TokenReads:
    """Reads tokens.

    The version of a row is that of the file when the row was read. While the file has this version, no row has changed.

    Args:
        database: runs the queries.
        queries: the queries.
    """

    def __init__(self, database: SqliteDatabase, queries: Queries) -> None:
        self._database = database
        self._queries = queries
        self._version: int | None = None  # as the last read saw it

    async def get_many(self, keys: Sequence[TokenKey]) -> list[StoredToken | DamagedToken | None]:
        """Return the stored token of each of these keys, or None."""
        if len(keys) == 1:
            [key] = keys
            rows = await self._database.fetch(self._queries["get_token"], key_parameters(key))
            return [_answer(rows, key)]
        rows = await self._database.fetch(self._queries["get_tokens"], {"keys": keys_parameter(keys)})
        if len(rows) == len(keys):
            return [stored_token(row, key) for row, key in zip(rows, keys, strict=True)]
        groups = groupby(rows, key=itemgetter(-1))  # some key has several rows
        return [_answer(list(group), key) for key, (_, group) in zip(keys, groups, strict=True)]

    async def read(self, asked: Sequence[Asked]) -> list[Reading]:
        """Read one token for each question; see `Accounts.get`. Only one such call may run at a time."""
        known = [row for _, row in asked if row is not None and row.version == self._version]
        if len(known) == len(asked) and await self._is_unchanged():
            now = self._database.now()
            return [Reading(row, now) for row in known]
        # If another read has seen a later version than that of a remembered row, the row must be read. To ask for the
        # version before that would only take time.
        tokens = await self.get_many([key for key, _ in asked])
        now = self._database.now()
        found = (token.version for token in tokens if isinstance(token, StoredToken))
        self._version = next(found, self._version)
        return [Reading.of(token, now) for token in tokens]

    async def _is_unchanged(self) -> bool:
        """Return whether the file still has the version that the last read saw."""
        seen = self._version
        [(self._version,)] = await self._database.fetch(self._queries["get_version"])
        return seen is not None and seen == self._version


def _answer(rows: Sequence[Row], key: TokenKey) -> StoredToken | DamagedToken | None:
    """Return the token of a key from its row; several rows give a `DamagedToken`, because only one can be the key's."""
    if len(rows) > 1:
        return DamagedToken(key, WRONG_ROW)
    return next((stored_token(row, key) for row in rows), None)
