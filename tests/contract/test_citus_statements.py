"""Parts of the contract with the statements for distributed tables, on a plain server.

The server has a table with the name of Citus's catalogue, so a vault takes its tables for distributed ones. Citus itself
is in `test_citus.py`.
"""

import psycopg
import pytest
from tests.contract.stores import check_postgres_idle, open_postgres
from tests.support.prepared_schemas import PreparedSchemas

from vault_adapters.testing.contract.audit import AuditCases
from vault_adapters.testing.contract.events import EventCases
from vault_adapters.testing.contract.schedule import ScheduleCases
from vault_adapters.testing.contract.tokens import TokenCases
from vault_adapters.testing.contract.uses import UseCases

_CATALOGUE = "CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass)"


@pytest.fixture(scope="module")
def seeming_schemas(postgres):
    url = postgres.create_database("seems_distributed")
    with psycopg.connect(url, autocommit=True, options="-c allow_system_table_mods=on") as connection:
        connection.execute(_CATALOGUE)
        schemas = PreparedSchemas(url)
        yield schemas, connection
        schemas.close()


class TestStatementsForCitus(TokenCases, UseCases, EventCases, AuditCases, ScheduleCases):
    @pytest.fixture
    def open_store(self, seeming_schemas):
        schemas, connection = seeming_schemas
        with schemas.lend() as schema:
            connection.execute(f"INSERT INTO pg_catalog.pg_dist_partition VALUES ('\"{schema}\".token')")
            yield open_postgres(schemas.url, schema)

    async def check_idle(self, store):
        await check_postgres_idle(store)

    async def test_the_vault_takes_the_tables_for_distributed_ones(self, store):
        assert store.tokens._database.is_distributed
