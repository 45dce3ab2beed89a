"""Postgres schemas with the vault's tables, which tests use one after another.

Emptying a schema is quicker than making one. A test of migrations, or with processes that migrate, needs a new schema.
"""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psycopg

from vault_adapters.stores.postgres.store import open_postgres_store

# Deleted rows stay in the files of a table, so a schema that served many tests would be slow.
_MOST_USES: Final = 30
# Names, types and constraints. A schema in which a test has changed any of them must not be lent again.
# The query returns types by name, not by OID, because each schema has its own domains, with OIDs of their own.
_SHAPE: Final = """
SELECT string_agg(line, ';' ORDER BY line) FROM (
    SELECT concat(c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = to_regnamespace(%(schema)s) AND a.attnum > 0 AND c.relkind <> 'S'
    UNION ALL SELECT concat(conrelid::regclass::text, conname) FROM pg_constraint
    WHERE connamespace = to_regnamespace(%(schema)s)
    UNION ALL SELECT concat(proname, md5(replace(prosrc, %(schema)s, ''))) FROM pg_proc
    WHERE pronamespace = to_regnamespace(%(schema)s)
    UNION ALL SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = to_regnamespace(%(schema)s) AND NOT t.tgisinternal
) AS lines (line)
"""
_TABLES: Final = """
SELECT string_agg(format('DELETE FROM %%I.%%I', %(schema)s::text, relname), ';') FROM pg_class
WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind IN ('r', 'p') AND relname <> 'migration'
"""


# Switches off the triggers that check foreign keys, so that tables may be emptied in any order.
_WITHOUT_TRIGGERS: Final = "-c session_replication_role=replica"


def prepare_schema(url: str, schema: str) -> None:
    """Make a schema with the vault's tables, all empty, for copies of the database: a copy is at home nowhere yet."""

    async def migrate() -> None:
        async with open_postgres_store(url, migrate=True, schema=schema):
            pass

    asyncio.run(migrate())
    with psycopg.connect(url, autocommit=True, options=_WITHOUT_TRIGGERS) as connection:
        _empty(connection, schema)


class PreparedSchemas:
    """The schemas of one database."""

    def __init__(self, url: str) -> None:
        self.url: Final = url
        # A lock that a test has left behind must not hold up the next test.
        self._connection = psycopg.connect(url, autocommit=True, options=f"-c lock_timeout=5s {_WITHOUT_TRIGGERS}")
        self._uses: dict[str, int] = {}
        self._idle = [asyncio.run(self._make())]
        self._shape = self._shape_of(self._idle[0])
        self._migrations = self._migrations_of(self._idle[0])

    @contextmanager
    def lend(self) -> Iterator[str]:
        """Give an empty schema until the end of the block."""
        schema = self._idle.pop() if self._idle else _new_name()
        self._uses[schema] = self._uses.get(schema, 0) + 1
        try:
            yield schema
        finally:
            if self._uses[schema] < _MOST_USES and self._is_emptied(schema):
                self._idle.append(schema)
            else:
                self._drop(schema)

    def close(self) -> None:
        """Drop the schemas."""
        for schema in self._idle:
            self._drop(schema)
        self._connection.close()

    def _drop(self, schema: str) -> None:
        with suppress(psycopg.errors.LockNotAvailable):
            self._connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")

    async def _make(self) -> str:
        schema = _new_name()
        async with open_postgres_store(self.url, migrate=True, schema=schema):
            return schema

    def _is_emptied(self, schema: str) -> bool:
        if self._shape_of(schema) != self._shape or self._migrations_of(schema) != self._migrations:
            return False
        try:
            _empty(self._connection, schema)
        except psycopg.errors.LockNotAvailable:
            return False
        return True

    def _migrations_of(self, schema: str) -> list[tuple[object, ...]]:
        return self._connection.execute(f"SELECT number, digest FROM {schema}.migration ORDER BY number").fetchall()

    def _shape_of(self, schema: str) -> str | None:
        [lines] = self._connection.execute(_SHAPE, {"schema": schema}).fetchone()
        return lines and lines.replace(f"{schema}.", "")


def _empty(connection: psycopg.Connection, schema: str) -> None:
    with connection.cursor() as cursor:
        [statements] = cursor.execute(_TABLES, {"schema": schema}).fetchone()
        cursor.execute(statements)


def _new_name() -> str:
    return f"vault_{secrets.token_hex(6)}"
