"""Takes a database back to the schema of the first release, and keeps its rows, so that a test can migrate them."""

import sqlite3

import psycopg

from vault_adapters.stores.migrations import load_migrations
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.stores.sqlite.store import open_sqlite_store

# Each table comes after those that it references.
TABLES = [
    "master_key",
    "data_key",
    "data_key_wrap",
    "token",
    "token_use",
    "audit_event",
    "account",
    "client_refusal",
    "client_turn",
]
# The first release kept no row for an account with neither label nor attempt.
UNKNOWN_ACCOUNT = "label IS NULL AND attempt_id IS NULL"


class OlderSqlite:
    """Implements `OlderSchema` for a file."""

    def __init__(self, path):
        self._path = path

    def take_back(self):
        newer = self._path.rename(self._path.with_suffix(".newer"))
        connection = sqlite3.connect(self._path, isolation_level=None)
        try:
            connection.execute("ATTACH ? AS newer", [str(newer)])
            [(ledger,)] = connection.execute(
                "SELECT sql FROM newer.sqlite_master WHERE name = 'token_vault_migration'"
            ).fetchall()
            connection.executescript(f"{ledger}; {load_migrations('vault_adapters.stores.sqlite')[0].sql}")
            connection.executescript(
                "INSERT INTO token_vault_migration SELECT * FROM newer.token_vault_migration WHERE number = 1;"
                "ALTER TABLE token_vault_migration DROP COLUMN needs"
            )
            for table in TABLES:
                rows = connection.execute(f"SELECT name FROM pragma_table_info('token_vault_{table}')").fetchall()
                columns = ", ".join(name for (name,) in rows)
                connection.execute(
                    f"INSERT INTO token_vault_{table} ({columns}) SELECT {columns} FROM newer.token_vault_{table}"
                )
            connection.execute(f"DELETE FROM token_vault_account WHERE {UNKNOWN_ACCOUNT}")
        finally:
            connection.close()
        newer.unlink()

    def open_as_it_is(self, clock):
        return open_sqlite_store(str(self._path), migrate=False, clock=clock.now)


class OlderPostgres:
    """Implements `OlderSchema` for a schema."""

    def __init__(self, url, schema):
        self._url, self._schema = url, schema

    def take_back(self):
        schema, newer = self._schema, f"{self._schema}_newer"
        [first, *_] = load_migrations("vault_adapters.stores.postgres")
        with psycopg.connect(self._url) as connection:
            connection.execute(f"ALTER SCHEMA {schema} RENAME TO {newer}; CREATE SCHEMA {schema}")
            connection.execute(
                f"CREATE TABLE {schema}.migration (LIKE {newer}.migration INCLUDING ALL);"
                f"INSERT INTO {schema}.migration SELECT * FROM {newer}.migration WHERE number = 1;"
                f"ALTER TABLE {schema}.migration DROP COLUMN needs"
            )
            connection.execute(first.sql.replace("{{schema}}", schema))
            for table in TABLES:
                rows = connection.execute(
                    "SELECT column_name FROM information_schema.columns WHERE (table_schema, table_name) = (%s, %s)",
                    [schema, table],
                ).fetchall()
                columns = ", ".join(name for (name,) in rows)
                connection.execute(
                    f"INSERT INTO {schema}.{table} ({columns}) OVERRIDING SYSTEM VALUE"
                    f" SELECT {columns} FROM {newer}.{table}"
                )
            connection.execute(f"DELETE FROM {schema}.account WHERE {UNKNOWN_ACCOUNT}")
            connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{schema}.audit_event', 'seq'), max(seq))"
                f" FROM {schema}.audit_event"
            )
            connection.execute(f"DROP SCHEMA {newer} CASCADE")

    def open_as_it_is(self, clock):
        return open_postgres_store(self._url, migrate=False, clock=clock.now, schema=self._schema, pool_size=2)
