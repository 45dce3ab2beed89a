"""Creates and migrates the schema, safely with several processes at once."""

import sqlite3
from collections.abc import Iterator

from vault_adapters.stores.migrations import (
    Applied,
    load_migrations,
    pending_migrations,
    refuse_pending,
    unknown_schema,
)
from vault_adapters.stores.sqlite.database import Run, SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import to_micros

_PACKAGE = "vault_adapters.stores.sqlite"

_LEDGER = """
CREATE TABLE IF NOT EXISTS token_vault_migration (
    number INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    applied_at INTEGER NOT NULL,
    needs INTEGER
) STRICT
"""
_COLUMNS = "SELECT name FROM pragma_table_info('token_vault_migration')"
# For ledgers of releases that did not know the column.
_NEEDS_COLUMN = "ALTER TABLE token_vault_migration ADD COLUMN needs INTEGER"
_APPLIED = "SELECT number, digest, needs FROM token_vault_migration"
_APPLIED_BEFORE = "SELECT number, digest, NULL FROM token_vault_migration"
_RECORD = """
INSERT INTO token_vault_migration (number, name, digest, applied_at, needs)
VALUES (:number, :name, :digest, :now, :needs)
"""


async def prepare_schema(database: SqliteDatabase, *, migrate: bool) -> list[str]:
    """Bring the schema up to date; return the names of the applied migrations.

    Args:
        database: the open database.
        migrate: True creates or migrates the schema; False raises an error if it is missing or old.

    Raises:
        SchemaOutdatedError: migrations are pending and ``migrate`` is False.
        ConfigurationError: see `pending_migrations`.
    """
    known = load_migrations(_PACKAGE)
    pending = pending_migrations(known, await _applied(database))
    if not migrate:
        refuse_pending(pending)
    if not pending:
        return []  # the common case takes no lock

    async def work(transaction: Transaction) -> list[str]:
        await transaction.execute(_LEDGER)
        if "needs" not in await _columns(transaction):
            await transaction.execute(_NEEDS_COLUMN)
        applied = await transaction.fetch(_APPLIED)
        # Another process may have migrated the schema meanwhile.
        missing = pending_migrations(known, [Applied(*row) for row in applied])
        runs: list[Run] = []
        for migration in missing:
            runs += [(statement, [{}]) for statement in split_statements(migration.sql)]
            record = {"number": migration.number, "name": migration.name, "digest": migration.digest}
            runs.append((_RECORD, [{**record, "now": to_micros(transaction.now), "needs": migration.needs}]))
        await transaction.finish(runs)
        return [f"{migration.number:04d}_{migration.name}" for migration in missing]

    return await database.transact(work)


def schema_sql() -> str:
    """Return a script that creates the schema, for operators who do not let the vault create it."""
    steps = [_LEDGER.strip() + ";"]
    for migration in load_migrations(_PACKAGE):
        title = f"-- Migration {migration.number:04d}: {migration.name.replace('_', ' ')}"
        record = _RECORD.strip() + ";"
        for name, value in {
            "number": str(migration.number),
            "name": f"'{migration.name}'",
            "digest": f"'{migration.digest}'",
            "now": "strftime('%s', 'now') * 1000000",
            "needs": str(migration.needs),
        }.items():
            record = record.replace(f":{name}", value)
        steps += [title, migration.sql.strip(), record]
    return "\n\n".join(["BEGIN IMMEDIATE;", *steps, "COMMIT;"]) + "\n"


async def _applied(database: SqliteDatabase) -> list[Applied]:
    columns = await _columns(database)
    if not columns:
        return []
    if not {"number", "digest"} <= columns:
        raise unknown_schema()
    return [Applied(*row) for row in await database.fetch(_APPLIED if "needs" in columns else _APPLIED_BEFORE)]


async def _columns(place: SqliteDatabase | Transaction) -> set[str]:
    return {name for (name,) in await place.fetch(_COLUMNS)}


def split_statements(script: str) -> Iterator[str]:
    """Yield a script's statements, because inside a transaction the driver runs one statement at a time."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
