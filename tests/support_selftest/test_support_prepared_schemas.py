import asyncio
from uuid import uuid4

import psycopg
import pytest
from tests.support.prepared_schemas import PreparedSchemas

from vault_adapters.stores.postgres.store import open_postgres_store

pytestmark = pytest.mark.tools


@pytest.fixture
def schemas(postgres):
    prepared = PreparedSchemas(postgres.create_database(f"prepared_schemas_{uuid4().hex}"))
    yield prepared
    prepared.close()


async def migrate(url, schema):
    async with open_postgres_store(url, migrate=True, schema=schema):
        pass


def execute(schemas, statement):
    with psycopg.connect(schemas.url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_a_schema_comes_again_empty(schemas):
    with schemas.lend() as first:
        execute(
            schemas, f"INSERT INTO {first}.master_key VALUES ('0123456789abcdef', 'p', '', '', '', 'active', now())"
        )
    with schemas.lend() as again, schemas.lend() as other:
        assert (again == first, other == first) == (True, False)
        assert execute(schemas, f"SELECT count(*) FROM {again}.master_key") == [(0,)]
        assert execute(schemas, f"SELECT count(*) > 0 FROM {again}.migration") == [(True,)]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE {}.token ALTER COLUMN error_code SET NOT NULL",
        "ALTER TABLE {}.master_key DROP CONSTRAINT master_key_state_check",
        "ALTER TABLE {}.token ADD COLUMN more text",
        "DROP SCHEMA {} CASCADE",
    ],
)
def test_a_schema_that_was_changed_does_not_come_again(schemas, change):
    with schemas.lend() as first:
        execute(schemas, change.format(first))
    with schemas.lend() as other:
        assert other != first
    assert execute(schemas, f"SELECT FROM pg_namespace WHERE nspname = '{first}'") == []


def test_every_schema_comes_again_and_not_only_the_one_that_was_made_first(schemas):
    with schemas.lend() as first, schemas.lend() as second:
        asyncio.run(migrate(schemas.url, second))
    with schemas.lend() as one, schemas.lend() as other:
        assert {one, other} == {first, second}
