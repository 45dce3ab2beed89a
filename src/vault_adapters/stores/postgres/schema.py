"""Creates and migrates the schema, safely with several processes at once."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

from vault_adapters.stores.migrations import (
    Applied,
    Migration,
    load_migrations,
    pending_migrations,
    refuse_pending,
    unknown_schema,
)
from vault_adapters.stores.postgres.audit_months import months_ahead, partition_sql
from vault_adapters.stores.postgres.cursors import Row
from vault_adapters.stores.postgres.database import PostgresDatabase, Transaction
from vault_adapters.stores.postgres.limits import Pace
from vault_adapters.stores.queries import Queries

_PACKAGE = "vault_adapters.stores.postgres"

_SCHEMA_EXISTS = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %(schema)b)"
_HAS_LEDGER = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)b AND c.relname = 'migration')
"""
_LOCK = "SELECT pg_advisory_xact_lock(%(key)b::bigint)"
_LEDGER = """
CREATE TABLE IF NOT EXISTS {{schema}}.migration (
    number bigint NOT NULL PRIMARY KEY,
    name text NOT NULL,
    digest text NOT NULL,
    applied_at timestamptz NOT NULL,
    needs bigint
)
"""
# For ledgers of releases that did not know the column.
_LEDGER_COLUMN = "ALTER TABLE {{schema}}.migration ADD COLUMN IF NOT EXISTS needs bigint"
# The row is read as JSON, because the column may be missing, and because the table may belong to somebody else.
_APPLIED = """
SELECT pg_catalog.jsonb_extract_path_text(r, 'number'), pg_catalog.jsonb_extract_path_text(r, 'digest'),
    pg_catalog.jsonb_extract_path_text(r, 'needs')
FROM (SELECT pg_catalog.to_jsonb(m) FROM {{schema}}.migration m) AS rows (r)
"""
_RECORD = """
INSERT INTO {{schema}}.migration (number, name, digest, applied_at, needs)
VALUES (%(number)b::bigint, %(name)b, %(digest)b, coalesce(%(now)b::timestamptz, statement_timestamp()),
    %(needs)b::bigint)
"""


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as an SQL literal that is valid under any session settings."""
    escaped = text.replace("'", "''")
    return "E'" + escaped.replace("\\", "\\\\") + "'" if "\\" in text else f"'{escaped}'"


async def prepare_schema(database: PostgresDatabase, schema: str, *, migrate: bool) -> list[str]:
    """Bring the schema up to date; return the names of the applied migrations.

    If the schema is up to date, the role needs no right to create anything.

    Args:
        database: the open database.
        schema: the schema's name.
        migrate: True creates or migrates the schema; False raises an error if it is missing or old.

    Raises:
        SchemaOutdatedError: migrations are pending and ``migrate`` is False.
        ConfigurationError: see `pending_migrations`.
    """
    known = load_migrations(_PACKAGE)
    pending = pending_migrations(known, await _applied(database, schema))
    if not migrate:
        refuse_pending(pending)
    if not pending:
        return []  # the common case takes no lock

    async def work(transaction: Transaction) -> list[str]:
        await transaction.fetch(_LOCK, {"key": _lock_key(schema)})
        await _create_ledger(transaction, schema)
        rows = await transaction.fetch(_filled(_APPLIED, schema))
        missing = pending_migrations(known, _ledger(rows))  # another process may have migrated the schema meanwhile
        for migration in missing:
            await _apply(transaction, migration, schema)
        return [f"{migration.number:04d}_{migration.name}" for migration in missing]

    return await database.transact(work, pace=Pace.MIGRATION)


async def adopt_restored(database: PostgresDatabase, queries: Queries, schema: str) -> bool:
    """Renumber the audit events of a dump from another server; return whether this call renumbered any.

    The restored events hold that server's transaction numbers, and pages of events are ordered by these numbers.
    Without renumbering, pages would hide the restored events until this server reaches their numbers. From then on, the
    restored events would come after newer events.
    """
    [(foreign,)] = await database.fetch(queries["has_foreign_audit_events"])
    if not foreign:
        return False

    async def work(transaction: Transaction) -> bool:
        await transaction.fetch(_LOCK, {"key": _lock_key(schema)})
        [(still,)] = await transaction.fetch(queries["has_foreign_audit_events"])
        return bool(still) and await transaction.execute(queries["adopt_audit_events"]) > 0

    return await database.transact(work, pace=Pace.MIGRATION)


def schema_sql(schema: str) -> str:
    """Return a script that creates the schema, for operators who do not let the vault create it.

    Afterwards `open_vault` finds the schema up to date, so the vault's role needs no right to create anything.
    """
    return "\n\n".join(["BEGIN;", *schema_steps(schema), "COMMIT;"]) + "\n"


def schema_steps(schema: str) -> list[str]:
    """Return the parts of the script that creates the schema, without BEGIN and COMMIT."""
    steps = [f"CREATE SCHEMA {quoted(schema)};", _filled(_LEDGER, schema).strip() + ";"]
    for migration in load_migrations(_PACKAGE):
        title = f"-- Migration {migration.number:04d}: {migration.name.replace('_', ' ')}"
        steps += [title, _filled(migration.sql, schema).strip(), _record_sql(migration, schema)]
    months = [partition_sql(quoted(schema), month) + ";" for month in months_ahead(datetime.now(UTC))]
    return [*steps, "\n".join(months)]


_STATEMENT = re.compile(
    r"""(?: --[^\n]* | '(?:[^']|'')*' | "(?:[^"]|"")*" | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | [^;] )+""",
    re.DOTALL | re.VERBOSE,
)
_COMMENT = re.compile(r"--[^\n]*")


def split_statements(script: str) -> list[str]:
    """Return the statements of a script, so that each can be sent by itself.

    If several statements are sent together, Citus cannot create an index on a distributed table, because it passes all
    of them to the other nodes. The script may have no ``E''`` strings and no ``/*`` comments.
    """
    found = (match[0].strip() for match in _STATEMENT.finditer(script))
    return [statement for statement in found if _COMMENT.sub("", statement).strip()]


def _record_sql(migration: Migration, schema: str) -> str:
    values = {"number": str(migration.number), "name": literal(migration.name), "digest": literal(migration.digest)}
    values["needs"] = str(migration.needs)
    sql = _filled(_RECORD, schema).strip().replace("%(now)b", "NULL")
    for name, value in values.items():
        sql = sql.replace(f"%({name})b", value)
    return sql + ";"


async def _applied(database: PostgresDatabase, schema: str) -> list[Applied]:
    [(exists,)] = await database.fetch(_HAS_LEDGER, {"schema": schema})
    return _ledger(await database.fetch(_filled(_APPLIED, schema))) if exists else []


def _ledger(rows: list[Row]) -> list[Applied]:
    try:
        return [Applied(int(number), digest, None if needs is None else int(needs)) for number, digest, needs in rows]
    except (TypeError, ValueError):
        raise unknown_schema() from None


async def _create_ledger(transaction: Transaction, schema: str) -> None:
    # Do not rely on IF NOT EXISTS, because it needs the right to create even if there is nothing to create.
    [(exists,)] = await transaction.fetch(_SCHEMA_EXISTS, {"schema": schema})
    if not exists:
        await transaction.run_script(f"CREATE SCHEMA {quoted(schema)}")
    [(exists,)] = await transaction.fetch(_HAS_LEDGER, {"schema": schema})
    if not exists:
        await transaction.run_script(_filled(_LEDGER, schema))
    await transaction.run_script(_filled(_LEDGER_COLUMN, schema))


async def _apply(transaction: Transaction, migration: Migration, schema: str) -> None:
    for statement in split_statements(_filled(migration.sql, schema)):
        await transaction.run_script(statement)
    record = {"number": migration.number, "name": migration.name, "digest": migration.digest, "needs": migration.needs}
    await transaction.execute(_filled(_RECORD, schema), {**record, "now": transaction.now})


def _filled(sql: str, schema: str) -> str:
    return sql.replace("{{schema}}", quoted(schema))


def _lock_key(schema: str) -> int:
    """Return the advisory lock's number; each schema has its own, so that vaults in other schemas do not wait."""
    digest = hashlib.sha256(f"token-vault migrations of {schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
