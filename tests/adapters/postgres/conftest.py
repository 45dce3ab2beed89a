"""Fixtures of the Postgres store's own tests."""

import itertools

import psycopg
import pytest
from tests.adapters.postgres.samples import SCHEMA
from tests.support.prepared_schemas import prepare_schema

from vault_adapters.stores.postgres.store import open_postgres_store

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def prepared(postgres):
    """Give the name of a database with the tables of a store, for copies."""
    prepare_schema(postgres.create_database("postgres_store_prepared"), SCHEMA)
    return "postgres_store_prepared"


@pytest.fixture
def url(request, postgres):
    """Give the URL of an empty database, or with `store`, of one with tables: a copy is quicker than the migrations."""
    template = request.getfixturevalue("prepared") if "store" in request.fixturenames else "template1"
    return postgres.create_database(f"postgres_store_{next(_numbers)}", template)


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
