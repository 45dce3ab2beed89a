"""Schemas on a Citus cluster, which `TOKEN_VAULT_TEST_CITUS_URL` names; such a test is skipped without it."""

import os
import secrets
from contextlib import contextmanager

import psycopg
import pytest

from vault_adapters.stores.postgres.citus import DISTRIBUTED, REFERENCE, citus_sql

VARIABLE = "TOKEN_VAULT_TEST_CITUS_URL"
CLIENT_VARIABLE = "TOKEN_VAULT_TEST_CITUS_CLIENT_URL"
"""The node that the vaults connect to, such as a worker; the coordinator if it is not set."""

_END_OF_TABLES = "END $token_vault_do$;\n"


def skip_without_citus():
    """Skip the module that calls this at its import: one line of the summary instead of one for each test."""
    if VARIABLE not in os.environ:
        pytest.skip(f"{VARIABLE} names no cluster", allow_module_level=True)


class DistributedSchema:
    """A distributed schema that tests use one after another."""

    def __init__(self):
        self.url = os.environ.get(CLIENT_VARIABLE, os.environ[VARIABLE])
        self.name = f"vault_{secrets.token_hex(6)}"
        self._connection = psycopg.connect(os.environ[VARIABLE], autocommit=True)
        tables, rest = citus_sql(self.name).split(_END_OF_TABLES)
        self._connection.execute(tables + _END_OF_TABLES)
        for statement in rest.split(";\n"):
            self._connection.execute(statement)
        [(kept,)] = self._connection.execute(f'SELECT count(*) FROM "{self.name}".migration').fetchall()
        assert kept > 0

    @contextmanager
    def lend(self):
        """Give the empty schema's name until the end of the block."""
        try:
            yield self.name
        finally:
            # Quicker than TRUNCATE, which locks every shard of every partition.
            for table in (*reversed(DISTRIBUTED), *REFERENCE):
                if table != "migration":
                    self._connection.execute(f'DELETE FROM "{self.name}".{table}')

    def close(self):
        """Drop the schema."""
        self._connection.execute(f'DROP SCHEMA "{self.name}" CASCADE')
        self._connection.close()
