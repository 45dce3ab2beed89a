"""Reads and stores one token on tables that Citus distributes.

Citus makes a new plan for each run of a statement that names two tables. If a CTE of a statement writes, Citus sends
the rows of this CTE through the node that runs the statement. Neither happens for a statement that names one table and
one tenant. So a token and its last use are read by two statements of this kind, which are sent together, and this
process joins their rows. A token is stored by a function, which Citus calls on the node of the tenant.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from attrs import frozen

from vault_adapters.stores.columns import bounded, dated, id_of, with_last_use
from vault_adapters.stores.postgres.cursors import Row
from vault_adapters.stores.postgres.database import PostgresDatabase
from vault_adapters.stores.postgres.readers import Reader
from vault_adapters.stores.postgres.rows import keys_parameters
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import TokenKey

Parameters = Mapping[str, Any]
_Key = tuple[str, ...]

_AGE_SECONDS = 60.0
"""Seconds for which a last use is remembered. Each process writes the uses of a token once a minute at most."""

_MOST = 10_000


@frozen
class _Use:
    token_id: UUID
    last_used_at: datetime | None
    read_at: float


class LastUses:
    """Remembers when tokens were last used, so that most reads of a token need one statement.

    A use that another process writes is seen up to a minute later.
    """

    def __init__(self) -> None:
        self._uses: dict[_Key, _Use] = {}

    def known(self, key: Parameters) -> _Use | None:
        """Return the remembered last use of a token; None if none is remembered, or if it was read too long ago."""
        use = self._uses.get(_place(key))
        return None if use is None or time.monotonic() - use.read_at > _AGE_SECONDS else use

    def remember(self, key: Parameters, row: Row, uses: list[Row]) -> Row:
        """Note the last use of a token; return the token's row with it.

        Args:
            key: the token's key, as parameters.
            row: the token, without its last use.
            uses: the rows of `get_last_use`.
        """
        last_used_at = next((moment for (moment,) in uses), None)
        if len(self._uses) >= _MOST:
            self._uses.clear()
        self._uses[_place(key)] = _Use(id_of(row), last_used_at, time.monotonic())
        return with_last_use(row, last_used_at)

    def forget(self, keys: Iterable[_Key]) -> None:
        """Forget the last uses of tokens, because later uses were written; each token is given by its key's columns."""
        for key in keys:
            self._uses.pop(key, None)


async def read_token(
    reader: Reader, queries: Queries, uses: LastUses, key: Parameters, now: datetime | None
) -> list[Row]:
    """Return the rows that the statement `get_token` returns on a plain server.

    Args:
        reader: runs the queries.
        queries: the statements.
        uses: the last uses that this process knows.
        key: the token's key, as parameters.
        now: the clock's time; None: the database's time.
    """
    known = uses.known(key)
    alone, use = (queries["get_token_alone"], key), (queries["get_last_use"], key)
    if known is None:
        rows, last = await reader.fetch_together([alone, use])
    else:
        rows, last = await reader.fetch(*alone), None
    if not rows:  # `get_token` returns the store's time even if there is no token
        return await reader.fetch(queries["get_token"], {**key, "now": now})
    if known is not None and id_of(rows[0]) == known.token_id:
        found = [with_last_use(row, known.last_used_at) for row in rows]
    else:
        last = await reader.fetch(*use) if last is None else last
        found = [uses.remember(key, row, last) for row in rows]
    return [dated(bounded(row), now) for row in found]


async def read_tokens(reader: Reader, queries: Queries, keys: Sequence[TokenKey], now: datetime | None) -> list[Row]:
    """Return the rows that the statement `get_tokens` returns on a plain server; each query is about one tenant.

    Args:
        reader: runs the queries, which are sent together.
        queries: the statements.
        keys: the keys of the tokens.
        now: the clock's time; None: the database's time.
    """
    places: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key.tenant_id, []).append(place)
    answers = await reader.fetch_together(
        [
            (
                queries["get_tokens"],
                keys_parameters(keys[place] for place in own) | {"tenant_id": tenant_id, "now": now},
            )
            for tenant_id, own in places.items()
        ]
    )
    found = zip(places.values(), answers, strict=True)
    return [(*columns, own[place - 1] + 1) for own, rows in found for *columns, place in rows]


async def store_token(database: PostgresDatabase, queries: Queries, uses: LastUses, write: Parameters) -> list[Row]:
    """Do what the statement `store_token` does on a plain server.

    Return the statement's row, or no row if the data key is not active.

    Args:
        database: runs the statements.
        queries: the statements.
        uses: the last uses that this process knows.
        write: the parameters of `store_token`.
    """
    rows = await database.write(queries["store_token"], write)
    known = uses.known(write)
    if not rows or (known is not None and known.token_id == id_of(rows[0])):
        return [with_last_use(row, known and known.last_used_at) for row in rows]
    last = await database.fetch(queries["get_last_use"], write)
    return [uses.remember(write, row, last) for row in rows]


def _place(key: Parameters) -> _Key:
    return key["tenant_id"], key["provider"], key["identifier"], key["kind"]
