"""Writes many values with one statement, and makes their events."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from datetime import datetime
from itertools import groupby
from typing import Any, TypeVar

from vault_adapters.stores.columns import LISTED
from vault_adapters.stores.postgres.audit import token_event
from vault_adapters.stores.postgres.cursors import Row
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.deferred import DeferredEvents
from vault_adapters.stores.postgres.rows import key_columns, token_info, writes_parameters
from vault_adapters.stores.queries import Queries
from vault_domain.entities.account import TokenKey
from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.token import TokenInfo, TokenWrite
from vault_domain.ports.change import Change, DataKeyInactiveError

T = TypeVar("T")

ROWS_PER_STATEMENT = 1000
_ROWS_AT_ONCE = 128
"""Number of rows to decode before yielding to the event loop, which then sends the next statement."""


async def write_tokens(
    transaction: Transaction, queries: Queries, writes: Sequence[TokenWrite], actor: str | None, *, told: bool = True
) -> Change[list[TokenInfo]]:
    """Write values and their events in the given transaction; the data keys of all values must be active.

    Args:
        transaction, queries: run the statements.
        writes, actor: see `TokenRepository.store`.
        told: whether to append an event for each value; False if the caller appends one event for all values.

    Raises:
        DataKeyInactiveError: a data key is not active; the caller must roll back the transaction.
    """
    # Every writer locks tokens in the order of their keys, because two writers could deadlock otherwise.
    ordered = sorted(writes, key=lambda write: key_columns(write.key))
    infos: dict[tuple[str, ...], TokenInfo] = {}
    for refreshed, alike in groupby(ordered, key=lambda write: write.refreshed):
        batches = list(in_batches(list(alike)))
        common = _common(refreshed, actor, transaction.now, told=told)
        parameters = (writes_parameters(sent) | common for sent in batches)
        async with aclosing(transaction.fetch_each(queries["store_tokens"], parameters)) as answers:
            for sent in batches:
                rows = await anext(answers)
                if len(rows) < len(sent):
                    raise DataKeyInactiveError
                infos.update(await _stored_infos(sent, rows))
    stored = [infos[_listed(write.key)] for write in writes]
    events = DeferredEvents(
        len(stored) if told else 0, lambda number: stored_event(writes[number], stored[number], actor)
    )
    return Change(stored, events)


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
    ordered = sorted(writes, key=lambda write: key_columns(write.key))
    common = _common(writes[0].refreshed, actor, database.now())
    rows = await database.attempt(sql, writes_parameters(ordered) | common)
    if rows is None:
        return None
    stored = {written: row for row in rows for _, written, _ in [LISTED.split(row)]}
    return [stored.get(_listed(write.key)) for write in writes]


def _common(refreshed: bool, actor: str | None, now: datetime | None, *, told: bool = True) -> dict[str, Any]:
    action = ACTIONS[refreshed].value if told else None
    return {"refreshed": refreshed, "action": action, "actor": actor, "now": now}


async def _stored_infos(sent: Sequence[TokenWrite], rows: Sequence[Row]) -> dict[tuple[str, ...], TokenInfo]:
    keys = {_listed(write.key): write.key for write in sent}
    infos = {}
    for number, row in enumerate(rows, 1):
        token, written, _ = LISTED.split(row)
        infos[written] = token_info(token, keys[written])
        if number % _ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return infos


ACTIONS = {True: AuditAction.TOKEN_REFRESHED, False: AuditAction.TOKEN_STORED}
"""The action of a write's event, by whether the write is a refresh."""


def stored_event(write: TokenWrite, info: TokenInfo, actor: str | None) -> AuditEvent:
    """Return the event that a statement appended for a stored value."""
    return token_event(ACTIONS[write.refreshed], info.key, info.generation, info.updated_at, actor)


def _listed(key: TokenKey) -> tuple[str, ...]:
    """Return a key's columns in the order in which rows have them."""
    return (key.tenant_id, key.provider, key.kind.value, key.identifier or "")


def in_batches(items: list[T]) -> Iterator[list[T]]:
    """Yield the items in lists, each short enough for one statement."""
    return (items[start : start + ROWS_PER_STATEMENT] for start in range(0, len(items), ROWS_PER_STATEMENT))
