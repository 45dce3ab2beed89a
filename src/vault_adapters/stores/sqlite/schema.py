"""Creates and migrates the schema, safely with several processes at once."""

import sqlite3
from collections.abc import Iterator

from vault_adapters.stores.migrations import load_migrations, pending_migrations, refuse_pending
from vault_adapters.stores.sqlite.database import SqliteDatabase, Transaction
from vault_adapters.stores.sqlite.rows import to_micros

_PACKAGE = "vault_adapters.stores.sqlite"

_LEDGER = """
CREATE TABLE IF NOT EXISTS token_vault_migration (
    number INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT
"""
_HAS_LEDGER = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'token_vault_migration'"
_APPLIED = "SELECT number, digest FROM token_vault_migration"
_RECORD = "INSERT INTO token_vault_migration VALUES (:number, :name, :digest, :now)"


async def prepare_schema(database: SqliteDatabase, *, migrate: bool) -> list[str]:
    """Bring the schema up to date; return the names of the applied migrations.

    Args:
        database: the open database.
        migrate: True creates or migrates the schema; False raises an error if it is missing or old.

    Raises:
        SchemaOutdatedError: migrations are pending and ``migrate`` is False.
        ConfigurationError: a newer release migrated the database, or an applied migration's file was changed.
    """
    known = load_migrations(_PACKAGE)
    pending = pending_migrations(known, await _applied(database))
    if not migrate:
        refuse_pending(pending)
    if not pending:
        return []  # the common case takes no lock

    async def work(transaction: Transaction) -> list[str]:
        await transaction.execute(_LEDGER)
        applied = {int(number): str(digest) for number, digest in await transaction.fetch(_APPLIED)}
        missing = pending_migrations(known, applied)  # another process may have migrated the schema meanwhile
        for migration in missing:
            for statement in split_statements(migration.sql):
                await transaction.execute(statement)
            record = {"number": migration.number, "name": migration.name, "digest": migration.digest}
            await transaction.execute(_RECORD, {**record, "now": to_micros(transaction.now)})
        return [f"{migration.number:04d}_{migration.name}" for migration in missing]

    return await database.transact(work)


def schema_sql() -> str:
    """Return a script that creates the schema, for operators who do not let the vault create it."""
    steps = [_LEDGER.strip() + ";"]
    for migration in load_migrations(_PACKAGE):
        title = f"-- Migration {migration.number:04d}: {migration.name.replace('_', ' ')}"
        values = f"{migration.number}, '{migration.name}', '{migration.digest}', strftime('%s', 'now') * 1000000"
        steps += [title, migration.sql.strip(), f"INSERT INTO token_vault_migration VALUES ({values});"]  # noqa: S608 - our own files
    return "\n\n".join(["BEGIN IMMEDIATE;", *steps, "COMMIT;"]) + "\n"


async def _applied(database: SqliteDatabase) -> dict[int, str]:
    [(exists,)] = await database.fetch(_HAS_LEDGER)
    if not exists:
        return {}
    return {int(number): str(digest) for number, digest in await database.fetch(_APPLIED)}


def split_statements(script: str) -> Iterator[str]:
    """Yield a script's statements, because inside a transaction the driver runs one statement at a time."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
