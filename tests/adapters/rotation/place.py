"""A database under test: vaults open it, and tests read and change its rows directly, as an attacker would."""

import sqlite3
from contextlib import asynccontextmanager, closing
from datetime import timedelta

import psycopg

from vault_adapters import VaultConfig, open_vault

OLD, NEW, NEWEST = (f"the {name} encryption secret of these tests" for name in ("old", "new", "newest"))
TABLES = ("master_key", "data_key", "data_key_wrap", "token", "token_use", "account", "audit_event")


class Place:
    """One empty database.

    Args:
        url: for `VaultConfig`.
        settings: further fields of `VaultConfig`.
    """

    def __init__(self, url, **settings):
        self.url = url
        self.settings = {"scrypt_log2_n": 14, "refresh_deadline": timedelta(seconds=1), **settings}
        self.is_sqlite = url.startswith("sqlite")

    def config(self, secret=OLD, previous=None, **more):
        return VaultConfig(
            self.url,
            **{"encryption_secret": secret, "previous_encryption_secret": previous, **self.settings, **more},
        )

    @asynccontextmanager
    async def vault(self, secret=OLD, previous=None, *, refreshers=None, clock=None, **more):
        config = self.config(secret, previous, **more)
        async with open_vault(config, refreshers=refreshers, clock=clock) as vault:
            yield vault

    def rows(self, sql, *parameters):
        """Run one statement, with the names of tables in braces, and return its rows."""
        names = {name: f"token_vault_{name}" if self.is_sqlite else self._quoted(name) for name in TABLES}
        statement = sql.format(**names)
        if self.is_sqlite:
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
                return connection.execute(statement, parameters).fetchall()
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.replace("?", "%s"), parameters)
            return cursor.fetchall() if cursor.description else []

    def states(self, table="master_key"):
        order = " ORDER BY created_at" if table == "master_key" else ""
        return [state for (state,) in self.rows(f"SELECT state FROM {{{table}}}{order}")]

    def _quoted(self, name):
        return f'"{self.settings.get("postgres_schema", "token_vault")}".{name}'


async def read_all(vault, keys):
    """Return the values under these keys, each read on its own."""
    tokens = [await vault.get_token(key) for key in keys]
    return [None if token is None else token.value.reveal() for token in tokens]
