"""Monthly partitions of the audit log: made ahead, and dropped when they are old."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from vault_adapters.stores.postgres.audit_months import end_of, months_ahead, name_of, partition_sql
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.limits import Pace
from vault_adapters.stores.postgres.schema import quoted
from vault_domain.entities.audit import LASTING_ACTIONS
from vault_domain.entities.errors import StorageError

_log = logging.getLogger(__name__)

_MOST_REST_PAGES = 8192
"""Partitions are made and dropped only while the default partition has at most this many blocks (64 MiB).

Postgres reads the whole default partition when another partition is made, and meanwhile no event can be written. The
default partition is small, unless the vault's role had no right to make partitions for a long time.
"""

_KNOWN = """
SELECT p.relname FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class p ON p.oid = i.inhrelid
JOIN pg_catalog.pg_class c ON c.oid = i.inhparent
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)b AND c.relname = 'audit_event'
"""
_MAY_MAKE = """
SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') AND pg_catalog.has_schema_privilege(n.oid, 'CREATE')
    AND coalesce((
        SELECT r.relpages FROM pg_catalog.pg_class r
        WHERE r.relnamespace = n.oid AND r.relname = 'audit_event_rest'), 0) <= %(most)b::bigint,
    statement_timestamp()
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)b AND c.relname = 'audit_event'
"""
_LOCK = "SELECT pg_catalog.pg_advisory_xact_lock(7220213406120955)"
_WAIT = "SET LOCAL lock_timeout = '500ms'"
"""Limits the time for which a transaction that makes or drops a partition waits for the running writers of events.

Meanwhile, new writers wait behind this transaction. An erasure may wait for the partition while the drop waits for the
erasure. The drop gives up before the server looks for deadlocks, which the server does after a second by default. So
the erasure never fails.
"""

_DROPS = 5
"""Number of attempts to drop a partition; if all fail, the partition's old events are deleted in batches."""

_DROP_PAUSE = 0.5

_LASTING = ", ".join(f"'{action.value}'" for action in sorted(LASTING_ACTIONS))
_COLUMNS = (
    "tenant_id, xid, seq, action, occurred_at, provider, identifier, kind, generation, actor, code,"
    " credential_generation"
)

_KEEP_STILL = "LOCK TABLE {partition} IN SHARE ROW EXCLUSIVE MODE"
"""Locks the partition, so that no erasure changes its events after `_REPLACE` has copied the lasting ones."""

_COUNT = "SELECT count(*) FROM {partition} WHERE action NOT IN ({lasting})"
_REPLACE = (
    "CREATE TEMP TABLE token_vault_lasting ON COMMIT DROP AS SELECT * FROM {partition} WHERE action IN ({lasting})",
    "ALTER TABLE {parent} DETACH PARTITION {partition}",
    "INSERT INTO {parent} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM pg_temp.token_vault_lasting",
    "DROP TABLE {partition}",
)
"""The statements are sent one by one. If the DETACH were sent together with other statements, Citus would pass all of
them to the other nodes.
"""


async def make_partitions(database: PostgresDatabase, schema: str) -> None:
    """Make the partitions of this month and the next two, if the role may do so and the default partition is small.

    Events of a month without a partition go to the default partition, so a failure does no harm.
    """
    found = await database.fetch(_MAY_MAKE, {"schema": schema, "most": _MOST_REST_PAGES})
    [(may_make, now)] = found or [(False, datetime.now(UTC))]
    known = {name for (name,) in await database.fetch(_KNOWN, {"schema": schema})}
    missing = [month for month in months_ahead(now.astimezone(UTC)) if name_of(month) not in known]
    if not may_make or not missing:
        return

    async def work(transaction: Transaction) -> None:
        await transaction.run_script(_WAIT)
        await transaction.fetch(_LOCK)
        there = {name for (name,) in await transaction.fetch(_KNOWN, {"schema": schema})}
        for month in missing:
            if name_of(month) not in there:
                await transaction.run_script(partition_sql(quoted(schema), month))

    try:
        await database.transact(work, pace=Pace.BULK)
    except StorageError as error:
        _log.info("no partition of the audit log was made (%s); events go to the default partition", error.reason)


async def drop_partitions(database: PostgresDatabase, schema: str, before: datetime) -> int:
    """Drop the partitions whose events are all older than ``before``; return the number of deleted events.

    The events of `LASTING_ACTIONS` move to the default partition. No partition is dropped if the role may not make
    partitions, or if the default partition is too large.
    """
    found = await database.fetch(_MAY_MAKE, {"schema": schema, "most": _MOST_REST_PAGES})
    if not found or not found[0][0]:
        return 0
    known = sorted(name for (name,) in await database.fetch(_KNOWN, {"schema": schema}))
    pruned = 0
    for name in known:
        end = end_of(name)
        if end is not None and end <= before:
            pruned += await _try_to_drop(database, schema, name)
    return pruned


async def _try_to_drop(database: PostgresDatabase, schema: str, name: str) -> int:
    for _ in range(_DROPS):
        try:
            return await _drop(database, schema, name)
        except StorageError as error:
            reason = error.reason
            if not error.retryable:
                break
        await asyncio.sleep(_DROP_PAUSE)
    _log.info("a partition of the audit log stays (%s); its events are deleted in batches", reason)
    return 0


async def _drop(database: PostgresDatabase, schema: str, name: str) -> int:
    names = {"parent": f"{quoted(schema)}.audit_event", "partition": f"{quoted(schema)}.{quoted(name)}"}
    names |= {"lasting": _LASTING, "columns": _COLUMNS}

    async def work(transaction: Transaction) -> int:
        await transaction.run_script(_WAIT)
        await transaction.fetch(_LOCK)
        await transaction.run_script(_KEEP_STILL.format(**names))
        [(count,)] = await transaction.fetch(_COUNT.format(**names))
        for statement in _REPLACE:
            await transaction.run_script(statement.format(**names))
        return int(count)

    return await database.transact(work, pace=Pace.BULK)
