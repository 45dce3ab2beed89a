"""Schemas on a Citus cluster, which `TOKEN_VAULT_TEST_CITUS_URL` names; such a test is skipped without it."""

import os
import secrets
from contextlib import contextmanager

import psycopg
import pytest

from vault_adapters.stores.postgres.citus import DISTRIBUTED, REFERENCE, citus_sql
from vault_adapters.stores.postgres.schema import schema_sql

VARIABLE = "TOKEN_VAULT_TEST_CITUS_URL"
CLIENT_VARIABLE = "TOKEN_VAULT_TEST_CITUS_CLIENT_URL"
"""The node that the vaults connect to, such as a worker; the coordinator if it is not set."""

needs_citus = pytest.mark.skipif(VARIABLE not in os.environ, reason=f"{VARIABLE} names no cluster")


class DistributedSchema:
    """A distributed schema that tests use one after another."""

    def __init__(self):
        self.url = os.environ.get(CLIENT_VARIABLE, os.environ[VARIABLE])
        self.name = f"vault_{secrets.token_hex(6)}"
        self._connection = psycopg.connect(os.environ[VARIABLE], autocommit=True)
        self._connection.execute(schema_sql(self.name))
        for statement in citus_sql(self.name).split(";\n"):
            self._connection.execute(statement)
        [(kept,)] = self._connection.execute(f'SELECT count(*) FROM "{self.name}".migration').fetchall()
        assert kept > 0

    @contextmanager
    def lend(self):
        """Give the empty schema's name until the end of the block."""
        try:
            yield self.name
        finally:
            tables = [table for table in (*DISTRIBUTED, *REFERENCE) if table != "migration"]
            self._connection.execute("TRUNCATE " + ", ".join(f'"{self.name}".{table}' for table in tables))

    def close(self):
        """Drop the schema."""
        self._connection.execute(f'DROP SCHEMA "{self.name}" CASCADE')
        self._connection.close()
