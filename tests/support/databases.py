"""An empty database of either kind, which tests read and change behind the vault's back."""

import secrets
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest

from vault_adapters import VaultConfig

both_stores = pytest.mark.parametrize("store_kind", ["sqlite", "postgres"])
"""Runs a test over each kind of store, where what it guards depends on the store: locks, statements, drivers."""

SECRET = "an encryption secret for tests, long enough"


class Database(Protocol):
    """A database that a test may access without the vault."""

    kind: str

    def config(self, **settings: Any) -> VaultConfig:
        """Return a configuration that opens it, with the cheapest scrypt."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement that names tables as ``{token}`` and parameters as ``?``; return its rows."""


class SqliteFile:
    """A database in an SQLite file."""

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path

    def config(self, **settings: Any) -> VaultConfig:
        """See `Database`."""
        return _config(f"sqlite:///{self.path}", settings)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Database`."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute("PRAGMA busy_timeout = 10000")
            return connection.execute(sql.replace("{", "token_vault_").replace("}", ""), parameters).fetchall()
        finally:
            connection.close()


class PostgresSchema:
    """A schema of its own in a shared Postgres database. Without `schema`, it has a new name and does not exist yet."""

    kind = "postgres"

    def __init__(self, url: str, schema: str | None = None) -> None:
        self.url = url
        self.schema = schema or f"vault_{secrets.token_hex(6)}"

    def config(self, **settings: Any) -> VaultConfig:
        """See `Database`."""
        return _config(self.url, {"postgres_schema": self.schema, "pool_size": 4, **settings})

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Database`."""
        statement = sql.replace("{", f"{self.schema}.").replace("}", "").replace("?", "%s")
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def drop(self) -> None:
        """Drop the schema."""
        self.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")


def _config(url: str, settings: dict[str, Any]) -> VaultConfig:
    return VaultConfig(url, **{"encryption_secret": SECRET, "scrypt_log2_n": 14, **settings})
