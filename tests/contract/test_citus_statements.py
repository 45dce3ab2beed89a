"""Parts of the contract with the statements for distributed tables, on a plain server.

The server has a view with the name of Citus's catalogue, so a vault takes its tables for distributed ones. Citus itself
is in `test_citus.py`.
"""

from uuid import uuid4

import psycopg
import pytest
from tests.contract.stores import check_postgres_idle, open_postgres
from tests.support.prepared_schemas import PreparedSchemas

from vault_adapters.testing.contract.audit import AuditCases
from vault_adapters.testing.contract.fixtures import ACCESS
from vault_adapters.testing.contract.rotation import DataKeyCases
from vault_adapters.testing.contract.schedule import ScheduleCases
from vault_adapters.testing.contract.tokens import TokenCases
from vault_adapters.testing.contract.uses import UseCases
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.token import TokenWrite
from vault_domain.ports.change import DataKeyInactiveError

_CATALOGUE = """
CREATE VIEW pg_catalog.pg_dist_partition AS SELECT oid AS logicalrelid FROM pg_catalog.pg_class WHERE relname = 'token';
CREATE FUNCTION pg_catalog.create_distributed_function(
    regprocedure, text, colocate_with text, force_delegation boolean) RETURNS void LANGUAGE sql AS '';
"""


@pytest.fixture(scope="module")
def seeming_schemas(postgres):
    url = postgres.create_database(f"seems_distributed_{uuid4().hex[:8]}")
    with psycopg.connect(url, autocommit=True, options="-c allow_system_table_mods=on") as connection:
        connection.execute(_CATALOGUE)
    schemas = PreparedSchemas(url)
    yield schemas
    schemas.close()


class TestStatementsForCitus(TokenCases, UseCases, ScheduleCases):
    @pytest.fixture
    def open_store(self, seeming_schemas):
        with seeming_schemas.lend() as schema:
            yield open_postgres(seeming_schemas.url, schema)

    async def check_idle(self, store):
        await check_postgres_idle(store)

    test_a_noted_failure_is_stored_once_an_hour = AuditCases.test_a_noted_failure_is_stored_once_an_hour
    test_pages_of_values_follow_the_keys = DataKeyCases.test_pages_of_values_follow_the_keys

    async def test_a_value_under_a_key_that_is_not_active_is_not_stored(self, store, vault):
        await vault.store_token(ACCESS, "v")
        sealed = (await store.tokens.get(ACCESS)).row.sealed
        await vault.keys.rotate_data_key("t1")
        with pytest.raises(DataKeyInactiveError):
            await store.tokens.store([TokenWrite(ACCESS, sealed)], actor=None)
        assert (await vault.get_token(ACCESS)).info.generation == 1

    async def test_pages_of_events_end_before_the_oldest_transaction(self, store, vault, seeming_schemas):
        assert store.tokens._database.is_distributed
        async with await psycopg.AsyncConnection.connect(seeming_schemas.url) as other:
            [(xid,)] = await (await other.execute("SELECT pg_current_xact_id()::text")).fetchall()
            await vault.store_token(ACCESS, "v")
            assert await store.audit._horizon() == {"horizon": xid}
            assert (await vault.audit_events()).items == ()
        [event] = (await vault.audit_events()).items
        assert (event.action, event.generation) == (AuditAction.TOKEN_STORED, 1)
