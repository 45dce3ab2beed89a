"""The contract on Postgres."""

import pytest
from tests.contract.older_schemas import OlderPostgres
from tests.contract.stores import check_postgres_idle, open_postgres

from vault_adapters.testing.contract import SharedStoreContract


class TestPostgres(SharedStoreContract):
    @pytest.fixture
    def open_store(self, postgres_schema):
        return open_postgres(*postgres_schema)

    @pytest.fixture
    def older_schema(self, postgres_schema):
        return OlderPostgres(*postgres_schema)

    async def check_idle(self, store):
        await check_postgres_idle(store)
