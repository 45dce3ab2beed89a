"""Fixtures of the Postgres store's own tests."""

import itertools

import psycopg
import pytest
from tests.adapters.postgres.samples import SCHEMA

from vault_adapters.stores.postgres.store import open_postgres_store

_numbers = itertools.count(1)


@pytest.fixture
def url(postgres):
    """Give the URL of an empty database."""
    return postgres.create_database(f"postgres_store_{next(_numbers)}")


@pytest.fixture
async def store(url):
    async with open_postgres_store(url, migrate=True, schema=SCHEMA) as opened:
        yield opened


@pytest.fixture
def execute(url):
    """Give a function that runs SQL on a connection of its own and returns the rows."""

    def run(statement, parameters=None):
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
async def raw(url):
    """Give a connection that is not the store's, for example to hold locks."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection
