"""The contract on Postgres."""

import pytest
from tests.contract.older_schemas import OlderPostgres
from tests.contract.stores import check_postgres_idle, open_postgres

from vault_adapters.testing.contract import SharedStoreContract


class TestPostgres(SharedStoreContract):
    @pytest.fixture
    def open_store(self, request):
        if "older_schema" in request.fixturenames:
            yield open_postgres(*request.getfixturevalue("postgres_schema"))
            return
        schemas = request.getfixturevalue("prepared_schemas")
        with schemas.lend() as schema:
            yield open_postgres(schemas.url, schema)

    @pytest.fixture
    def older_schema(self, postgres_schema):
        return OlderPostgres(*postgres_schema)

    async def check_idle(self, store):
        await check_postgres_idle(store)
