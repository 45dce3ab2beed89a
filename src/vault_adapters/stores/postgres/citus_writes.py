"""Stores values on tables that Citus distributes, by functions on the node of their tenant.

A statement over the rows of another query, such as ``unnest``, would make Citus ask every shard of every node. These
functions name one tenant, so Citus calls them on the tenant's node; see ``citus_functions.sql``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from vault_adapters.stores.columns import value_id_of
from vault_adapters.stores.postgres.appending import append_events
from vault_adapters.stores.postgres.cursors import Row
from vault_adapters.stores.postgres.database import Transaction
from vault_adapters.stores.postgres.rows import (
    compact,
    stored_info,
    writes_parameters,
)
from vault_adapters.stores.queries import Queries
from vault_adapters.stores.taking import taking
from vault_domain.entities.account import TokenKey
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.token import TokenWrite
from vault_domain.ports.late_writes import LateWrites
from vault_domain.rules.schedule import accounts_due
from vault_domain.transitions.events import key_event


async def store_each(
    transaction: Transaction,
    queries: Queries,
    writes: LateWrites[TokenWrite],
    batches: Iterable[Sequence[int]],
    common: Mapping[str, Any],
) -> AsyncGenerator[tuple[dict[UUID, int], list[Row]]]:
    """Store values tenant by tenant; yield for each call the value ids, with the indexes of their keys, and the rows.

    Args:
        transaction, queries: run the statements.
        writes: the values.
        batches: the indexes of their keys, in the order of the keys; each batch is stored before the next is taken.
        common: the parameters that all values share: whether they are refreshes; and the action and the actor of their
            events.
    """
    for batch in batches:
        stored: list[tuple[TokenKey, Row]] = []
        for tenant_id, group in groupby(batch, key=lambda index: writes.keys[index].tenant_id):
            indexes = list(group)
            values = [write async for part in taking(writes, indexes) for write in part]
            parameters = _store_parameters(transaction, tenant_id, values, refreshed=common["refreshed"])
            rows = await transaction.fetch_unprepared(queries["store_tokens"], parameters)
            at = dict(zip(parameters["value_ids"], indexes, strict=True))
            stored += [(writes.keys[at[value_id_of(row)]], row) for row in rows]
            yield at, rows
        await _append_events(transaction, queries, stored, common)


def _store_parameters(
    transaction: Transaction, tenant_id: str, writes: Sequence[TokenWrite], *, refreshed: bool
) -> dict[str, Any]:
    now = _time(transaction)
    ends = [_expiry(write, now) for write in writes]
    due = accounts_due(zip(writes, ends, strict=True), now)
    accounts = sorted(due, key=lambda account: (account.provider, account.identifier or ""))  # the order of all locks
    columns = writes_parameters(writes)
    return compact(
        {
            **{name: values for name, values in columns.items() if name not in {"tenant_ids", "leads", "due_ins"}},
            "expires_at": ends,
            "account_providers": [account.provider for account in accounts],
            "account_identifiers": [account.identifier or "" for account in accounts],
            "due_at": [due[account] for account in accounts],
        }
    ) | {
        "tenant_id": tenant_id,
        "refreshed": refreshed,
        "now": now,
        "lock_timeout": transaction.lock_timeout,
    }


async def _append_events(
    transaction: Transaction, queries: Queries, stored: Sequence[tuple[TokenKey, Row]], common: Mapping[str, Any]
) -> None:
    """Append the events only now, when the rows are locked; see `citus_store_token` in ``citus_functions.sql``."""
    action, now = AuditAction(common["action"]), _time(transaction)
    events = [key_event(action, key, stored_info(row, key).generation, now, common["actor"]) for key, row in stored]
    await append_events(transaction, queries, events)


def _expiry(write: TokenWrite, now: datetime) -> datetime | None:
    return write.expires_at or (None if write.lifetime is None else now + write.lifetime)


def _time(transaction: Transaction) -> datetime:
    assert transaction.now is not None  # noqa: S101 - on Citus, a transaction reads the time when it begins
    return transaction.now
