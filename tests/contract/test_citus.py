"""The contract on tables that Citus distributes by tenant, on a cluster that the environment names."""

from datetime import timedelta

import pytest
from tests.contract.distributed import DistributedSchema, skip_without_citus
from tests.contract.stores import check_postgres_idle, open_postgres

from vault_adapters.testing.contract import SharedStoreContract

skip_without_citus()

PATIENCE = timedelta(seconds=60)
"""Writers of one row wait for each other, and each takes several round trips between the nodes."""


@pytest.fixture(scope="module")
def distributed_schema():
    with DistributedSchema() as schema:
        yield schema


class TestCitus(SharedStoreContract):
    @pytest.fixture
    def open_store(self, distributed_schema):
        with distributed_schema.lend() as schema:
            yield open_postgres(distributed_schema.url, schema, timeout=PATIENCE)

    async def check_idle(self, store):
        await check_postgres_idle(store)
