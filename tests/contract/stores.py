"""The stores under test: how to open them, and how to see that nothing is under way in them."""

import asyncio
import secrets

import psycopg
import pytest
from tests.contract.distributed import CITUS, DistributedSchema
from tests.support.databases import PostgresSchema, SqliteFile
from tests.support.prepared_schemas import PreparedSchemas

from vault_adapters.stores.postgres.store import open_postgres_store
from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_adapters.testing import ManualClock

_CATALOGUE = """
CREATE VIEW pg_catalog.pg_dist_partition AS SELECT oid AS logicalrelid FROM pg_catalog.pg_class
WHERE relkind IN ('r', 'p') AND pg_catalog.obj_description(oid, 'pg_class') IS DISTINCT FROM 'local';
CREATE FUNCTION pg_catalog.create_reference_table(copied text) RETURNS void LANGUAGE plpgsql AS
$$BEGIN EXECUTE 'COMMENT ON TABLE ' || copied || ' IS NULL'; END$$;
CREATE FUNCTION pg_catalog.create_distributed_function(
    regprocedure, text, colocate_with text, force_delegation boolean) RETURNS void LANGUAGE sql AS '';
"""


def open_sqlite(path):
    """Return a function for the contract's fixture `open_store`, over a SQLite database."""
    return lambda clock: open_sqlite_store(str(path), migrate=True, clock=clock.now)


def open_postgres(url, schema, **settings):
    """Return a function for the contract's fixture `open_store`, over a schema of a Postgres database."""
    return lambda clock: open_postgres_store(
        url, migrate=True, clock=clock.now, schema=schema, **{"pool_size": 8, **settings}
    )


async def check_sqlite_idle(store):
    database = store.accounts._database
    assert database._writes.under_way == 0
    assert not database._lock.locked()
    assert not database._writer.in_transaction
    assert not database._reader.in_transaction


async def check_postgres_idle(store):
    connections = store.accounts._database._connections
    for _ in range(100):
        counts = connections.counts()
        if counts.idle == counts.open:
            break
        await asyncio.sleep(0.01)  # a batch of reads gives its connection back a tick after its answers
    assert counts.idle == counts.open, "a connection is checked out"
    assert counts.waiting == 0
    idle = psycopg.pq.TransactionStatus.IDLE
    at_hand = [each for each in [connections._at_hand] if each is not None]
    assert all(connection.pgconn.transaction_status == idle for connection in [*connections._pool._pool, *at_hand])


def drop_schema(url, schema):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


@pytest.fixture(scope="session")
def contract_database(postgres):
    """Give one database for all tests. Each test has a schema in it, because that is quicker than a new database."""
    return postgres.create_database(f"contract_{secrets.token_hex(4)}")


@pytest.fixture(scope="session")
def prepared_schemas(contract_database):
    """Give the schemas of the tests that do not make one themselves."""
    schemas = PreparedSchemas(contract_database)
    yield schemas
    schemas.close()


@pytest.fixture
def postgres_schema(contract_database):
    """Give a database's URL and the name of a schema that does not exist yet, and goes away with the test."""
    schema = f"vault_{secrets.token_hex(6)}"
    yield contract_database, schema
    drop_schema(contract_database, schema)


@pytest.fixture(scope="session")
def prepared_file(tmp_path_factory):
    """Give a SQLite file with the vault's tables, for tests to copy; a copy is quicker than the migrations."""
    path = tmp_path_factory.mktemp("prepared") / "vault.db"

    async def make():
        async with open_sqlite(path)(ManualClock()):
            pass

    asyncio.run(make())
    return path


@pytest.fixture
def database(request, store_kind, tmp_path):
    """Give an empty database, to be opened as a vault and looked at from outside."""
    if store_kind == "sqlite":
        yield SqliteFile(tmp_path / "vault.db")
        return
    schemas = request.getfixturevalue("prepared_schemas")
    with schemas.lend() as schema:
        yield PostgresSchema(schemas.url, schema)


def opening(request, schemas):
    """Yield a function that takes a clock and opens an empty store: SQLite, or a schema of the fixture ``schemas``."""
    if schemas == "sqlite":
        yield open_sqlite(":memory:")
        return
    schemas = request.getfixturevalue(schemas)
    with schemas.lend() as schema:
        yield open_postgres(schemas.url, schema)


@pytest.fixture(params=["sqlite", "prepared_schemas"], ids=["sqlite", "postgres"])
def opener(request):
    """Give, for each kind of database, a function that takes a clock and opens an empty store."""
    yield from opening(request, request.param)


@pytest.fixture(scope="session")
def seeming_schemas(postgres):
    """Give schemas on a plain server with a view named like Citus's catalogue: a vault takes them for distributed."""
    url = postgres.create_database(f"seems_distributed_{secrets.token_hex(4)}")
    with psycopg.connect(url, autocommit=True, options="-c allow_system_table_mods=on") as connection:
        connection.execute(_CATALOGUE)
    schemas = PreparedSchemas(url)
    yield schemas
    schemas.close()


@pytest.fixture(scope="session")
def citus_schemas(request):
    """Give schemas on the cluster that the environment names, or else schemas that seem to be distributed."""
    if not CITUS:
        yield request.getfixturevalue("seeming_schemas")
        return
    with DistributedSchema() as schema:
        yield schema
