"""A page of audit events ends before the oldest open transaction of its database, which may still add events.

Transactions of other databases hide nothing, because they cannot add events.
"""

from urllib.parse import urlsplit

import psycopg
import pytest
from tests.adapters.postgres.samples import SCHEMA, prepare, write
from tests.support.postgres import start_postgres

from vault_adapters.stores.postgres.store import open_postgres_store

ROLE = "vault_without_rights"


@pytest.fixture(scope="module")
def server():
    """Give a server that allows prepared transactions; only the tests of this module use it."""
    with start_postgres(settings={"max_prepared_transactions": "4"}) as started:
        yield started


@pytest.fixture
def url(server, request):
    return server.create_database(f"here_{abs(hash(request.node.name))}")


@pytest.fixture
async def elsewhere(server, request):
    """Give a connection to another database of the same server."""
    place = server.create_database(f"elsewhere_{abs(hash(request.node.name))}")
    async with await psycopg.AsyncConnection.connect(place, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def humble(store, url, execute):
    """Give the store opened by a role that has rights on the vault's tables only."""
    execute(f"DO $$ BEGIN CREATE ROLE {ROLE} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {ROLE}")
    execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {SCHEMA} TO {ROLE}")
    host = urlsplit(url).query
    place = f"postgresql://{ROLE}@/{urlsplit(url).path.lstrip('/')}?{host}"
    async with open_postgres_store(place, migrate=False, schema=SCHEMA) as opened:
        yield opened


async def begin(connection, table="something"):
    """Begin a transaction and write in it, because Postgres numbers a transaction at its first write."""
    await connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (number int)")
    await connection.execute("BEGIN")
    await connection.execute(f"INSERT INTO {table} VALUES (1)")


async def pages(*stores):
    """Return how many events each store shows: those of all tenants, then those of `acme`."""
    return [len(await each.audit.page(tenant, limit=9, after=None)) for each in stores for tenant in (None, "acme")]


async def test_another_databases_transaction_hides_nothing(store, humble, elsewhere):
    await prepare(store)
    await begin(elsewhere)
    await store.accounts.store([write()], actor=None)
    assert await pages(store, humble) == [1, 1, 1, 1]
    await elsewhere.execute("ROLLBACK")


async def test_another_databases_prepared_transaction_hides_nothing(store, humble, elsewhere):
    await prepare(store)
    await begin(elsewhere)
    await elsewhere.execute("PREPARE TRANSACTION 'elsewhere'")
    await store.accounts.store([write()], actor=None)
    assert await pages(store, humble) == [1, 1, 1, 1]
    await elsewhere.execute("ROLLBACK PREPARED 'elsewhere'")


async def test_this_databases_transaction_is_waited_for(store, humble, elsewhere, raw):
    await prepare(store)
    await begin(elsewhere)
    await store.accounts.store([write()], actor=None)
    await begin(raw)
    await store.accounts.store([write()], actor=None)
    # The open transaction has a lower number than the last write, so its events sort before the last event.
    assert await pages(store, humble) == [1, 1, 1, 1]
    await raw.execute(
        f"INSERT INTO {SCHEMA}.audit_event (tenant_id, action, occurred_at) VALUES ('acme', 'token_stored', now())"
    )
    assert await pages(store, humble) == [1, 1, 1, 1]
    await raw.execute("COMMIT")
    assert await pages(store, humble) == [3, 3, 3, 3]
    await elsewhere.execute("ROLLBACK")


async def test_this_databases_prepared_transaction_is_waited_for(store, humble, raw):
    await prepare(store)
    await begin(raw)
    await raw.execute("PREPARE TRANSACTION 'here'")
    await store.accounts.store([write()], actor=None)
    assert await pages(store, humble) == [0, 0, 0, 0]
    await raw.execute("COMMIT PREPARED 'here'")
    assert await pages(store, humble) == [1, 1, 1, 1]


async def test_a_transaction_with_savepoints_in_another_database_hides_nothing(store, humble, elsewhere):
    await prepare(store)
    await begin(elsewhere)
    await elsewhere.execute("SAVEPOINT one")
    await elsewhere.execute("INSERT INTO something VALUES (2)")
    await store.accounts.store([write()], actor=None)
    assert await pages(store, humble) == [1, 1, 1, 1]
    await elsewhere.execute("ROLLBACK")
