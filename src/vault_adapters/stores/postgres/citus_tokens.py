"""Reads and stores one token on tables that Citus distributes.

Citus plans each statement that names two tables anew, and gathers the rows of a statement with a CTE that writes. It
does neither for a statement that names one table and one tenant. So such statements are sent together, and this process
joins their rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vault_adapters.stores.columns import with_last_use
from vault_adapters.stores.postgres.cursors import Row, int8
from vault_adapters.stores.postgres.database import Reader, Transaction
from vault_adapters.stores.queries import Queries
from vault_domain.ports.change import DataKeyInactiveError


async def read_token(
    reader: Reader, queries: Queries, key: Mapping[str, Any], now: datetime | None
) -> list[Row]:
    """Return the rows of `get_token`.

    Args:
        reader: runs the queries.
        queries: the statements.
        key: the token's key, as parameters.
        now: the clock's time, or None.
    """
    rows, uses = await reader.fetch_together(
        [(queries["get_token_alone"], {**key, "now": now}), (queries["get_last_use"], key)]
    )
    if not rows:  # the joined query also tells the time of a token that is not there
        return await reader.fetch(queries["get_token"], {**key, "now": now})
    return [with_last_use(row, uses) for row in rows]


async def store_token(transaction: Transaction, queries: Queries, write: Mapping[str, Any]) -> list[Row]:
    """Do what `store_token` of a plain server does, in several statements; return its row.

    Args:
        transaction: runs the statements.
        queries: the statements, with the way in which they schedule the account.
        write: the parameters of `store_token`.

    Raises:
        DataKeyInactiveError: the data key is not active; the caller must roll back the transaction.
    """
    parameters = {**write, "now": transaction.now}
    held, rows = await transaction.fetch_together(
        [(queries["hold_data_key"], parameters), (queries["store_token"], parameters)]
    )
    if not held:
        raise DataKeyInactiveError
    [(*row, generation)] = rows
    parameters["generation"] = int8(generation)
    *_, uses = await transaction.fetch_together(
        [
            (queries["schedule_token"], parameters),
            (queries["audit_token"], parameters),
            (queries["get_last_use"], parameters),
        ]
    )
    return [with_last_use(row, uses)]
