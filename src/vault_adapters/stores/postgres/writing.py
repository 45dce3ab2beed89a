"""Writes many values, up to a thousand with one statement, and makes their events."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from vault_adapters.stores.columns import value_id_of
from vault_adapters.stores.postgres.citus_writes import store_each
from vault_adapters.stores.postgres.cursors import Row
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.deferred import DeferredEvents
from vault_adapters.stores.postgres.rows import compact, key_columns, token_info, writes_parameters
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.taking import VALUES_AT_ONCE, taking
from vault_domain.entities.account import TokenKey
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.token import TokenInfo, TokenWrite
from vault_domain.ports.change import Change, DataKeyInactiveError
from vault_domain.ports.late_writes import LateWrites
from vault_domain.transitions.events import key_event

T = TypeVar("T")

ROWS_PER_STATEMENT = 1000
"""Largest number of values that one statement stores."""


async def write_tokens(
    transaction: Transaction,
    queries: Queries,
    writes: LateWrites[TokenWrite],
    actor: str | None,
    *,
    refreshed: bool = False,
) -> Change[list[TokenInfo]]:
    """Write values and their events in the given transaction; the data keys of all values must be active.

    Args:
        transaction, queries: run the statements.
        writes, actor: see `Accounts.store`.
        refreshed: whether all values come from refreshes; False: none does.

    Returns:
        The metadata of the stored tokens in the order of the keys.

    Raises:
        DataKeyInactiveError: a data key is not active; the caller must roll back the transaction.
    """
    stored: dict[int, TokenInfo] = {}
    scheduling = transaction.is_distributed or len(writes.keys) <= ROWS_PER_STATEMENT
    accounts: dict[str, list[Any]] = defaultdict(list)
    common = _common(refreshed, actor, transaction.now, scheduling=scheduling)
    order = in_key_order(writes.keys)
    if transaction.is_distributed:
        running = store_each(transaction, queries, writes, in_batches(order), common)
    else:
        running = transaction.fetch_each(queries["store_tokens"], _statements(writes, order, common, accounts))
    async with aclosing(running) as answers:
        async for indexes, rows in answers:
            if len(rows) < len(indexes):
                raise DataKeyInactiveError
            for number, row in enumerate(rows, 1):
                index = indexes[value_id_of(row)]
                stored[index] = token_info(row, writes.keys[index])
                if number % VALUES_AT_ONCE == 0:
                    await asyncio.sleep(0)
    infos = [stored[index] for index in range(len(writes.keys))]
    if not scheduling:
        # Now all tokens are locked. The accounts are locked after them, in the order of their keys.
        accounts["are_replaced"] = [infos[index].generation > 1 for index in order]
        times = {"stored_at": min(info.updated_at for info in infos), "now": transaction.now}
        await transaction.execute(queries["schedule_accounts"], compact(accounts) | times)
    return Change(infos, DeferredEvents(len(infos), lambda index: stored_event(refreshed, infos[index], actor)))


async def _statements(
    writes: LateWrites[TokenWrite], order: list[int], common: Mapping[str, Any], accounts: dict[str, list[Any]]
) -> AsyncIterator[tuple[dict[UUID, int], dict[str, Any]]]:
    """Yield for each statement the value ids that it stores, each with the index of its key, and the parameters.

    The columns that decide when accounts are due are added to ``accounts``, if there is more than one statement.
    """
    for indexes in in_batches(order):
        columns: dict[str, list[Any]] = defaultdict(list)
        async for part in taking(writes, indexes):
            for name, values in writes_parameters(part).items():
                columns[name] += values
        if not common["scheduling"]:
            for name in _SCHEDULING:
                accounts[name] += columns[name]
        yield dict(zip(columns["value_ids"], indexes, strict=True)), {**compact(columns), **common}


async def write_apart(
    database: PostgresDatabase, sql: str, writes: Sequence[TokenWrite], actor: str | None
) -> list[Row | None] | None:
    """Write values with one statement, and leave out those whose data keys are not active.

    Args:
        database: runs the statement.
        sql: the statement `store_tokens`.
        writes: each key and each account at most once; all are refreshes, or none is.
        actor: who stores the values.

    Returns:
        For each write, the row of the stored token, or None if the data key is not active. The whole result is None if
        the server refused the statement because of a value, a row or a lock; nothing was stored then.
    """
    order = in_key_order([write.key for write in writes])
    parameters = writes_parameters([writes[index] for index in order])
    rows = await database.attempt(sql, compact(parameters) | _common(writes[0].refreshed, actor, database.now()))
    if rows is None:
        return None
    indexes = dict(zip(parameters["value_ids"], order, strict=True))
    stored = {indexes[value_id_of(row)]: row for row in rows}
    return [stored.get(index) for index in range(len(writes))]


_SCHEDULING = ("tenant_ids", "providers", "identifiers", "expires_at", "lifetimes", "leads", "due_ins")
"""The columns of a write that decide when its account is due."""


def _common(refreshed: bool, actor: str | None, now: datetime | None, *, scheduling: bool = True) -> dict[str, Any]:
    return {
        "refreshed": refreshed,
        "action": ACTIONS[refreshed].value,
        "actor": actor,
        "now": now,
        "scheduling": scheduling,
    }


ACTIONS = {True: AuditAction.TOKEN_REFRESHED, False: AuditAction.TOKEN_STORED}
"""The action of a write's event, by whether the write is a refresh."""


def stored_event(refreshed: bool, info: TokenInfo, actor: str | None) -> AuditEvent:
    """Return the event that a statement appended for a stored value; ``refreshed``: whether a refresh stored it."""
    return key_event(ACTIONS[refreshed], info.key, info.generation, info.updated_at, actor)


def in_key_order(keys: Sequence[TokenKey]) -> list[int]:
    """Return the indexes of keys in the order in which all writers lock tokens, so that no two writers deadlock."""
    columns = [key_columns(key) for key in keys]
    return sorted(range(len(keys)), key=columns.__getitem__)


def in_batches(items: list[T]) -> Iterator[list[T]]:
    """Yield the items in lists, each short enough for one statement."""
    return (items[start : start + ROWS_PER_STATEMENT] for start in range(0, len(items), ROWS_PER_STATEMENT))
