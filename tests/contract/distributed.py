"""Schemas on a Citus cluster, which `TOKEN_VAULT_TEST_CITUS_URL` names; if it names none, their tests are skipped."""

import os
import secrets
from contextlib import contextmanager
from typing import Self

import psycopg
import pytest

from vault_adapters.stores.postgres.citus import DISTRIBUTED, REFERENCE, citus_sql

VARIABLE = "TOKEN_VAULT_TEST_CITUS_URL"
CLIENT_VARIABLE = "TOKEN_VAULT_TEST_CITUS_CLIENT_URL"
"""The node that the vaults connect to, such as a worker; the coordinator if it is not set."""

CITUS = ["citus"] if VARIABLE in os.environ else []
"""Parameters that the environment adds to a fixture."""


def skip_without_citus():
    """Skip the calling module at its import, so that the summary has one line for it instead of one for each test."""
    if not CITUS:
        pytest.skip(f"{VARIABLE} names no cluster", allow_module_level=True)


class DistributedSchema:
    """A distributed schema that tests use one after another."""

    def __init__(self):
        self.url = os.environ.get(CLIENT_VARIABLE, os.environ[VARIABLE])
        self.name = f"vault_{secrets.token_hex(6)}"
        # One connection to each node is enough for a few rows.
        sequential = "-c citus.multi_shard_modify_mode=sequential -c citus.max_adaptive_executor_pool_size=1"
        self.connection = psycopg.connect(os.environ[VARIABLE], autocommit=True, options=sequential)
        self.connection.execute(citus_sql(self.name))
        [(kept,)] = self.connection.execute(f'SELECT count(*) FROM "{self.name}".migration').fetchall()
        assert kept > 0

    @contextmanager
    def lend(self):
        """Give the empty schema's name until the end of the block."""
        try:
            yield self.name
            # The upper bits of `seq` say which node gave this number. One node must give the numbers of all events.
            query = f'SELECT count(DISTINCT seq >> 48) FROM "{self.name}".audit_event'
            assert self.connection.execute(query).fetchall() <= [(1,)]
        finally:
            # Quicker than TRUNCATE, which locks every shard of every partition.
            with self.connection.transaction():
                for table in (*reversed(DISTRIBUTED), *REFERENCE):
                    if table != "migration":
                        self.connection.execute(f'DELETE FROM "{self.name}".{table}')

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_):
        self.connection.execute(f'DROP SCHEMA "{self.name}" CASCADE')
        self.connection.close()
