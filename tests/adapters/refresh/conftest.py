from contextlib import AsyncExitStack

import pytest
from tests.adapters.refresh.refresh_kit import make_config
from tests.support.prepared_schemas import PreparedSchemas
from tests.support.scripted_provider import scripted_provider

from vault_adapters import open_vault
from vault_adapters.testing import ManualClock


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def prepared_schemas(postgres):
    """The schemas of one database, which the tests use one after another."""
    schemas = PreparedSchemas(postgres.create_database("refresh_tests"))
    yield schemas
    schemas.close()


@pytest.fixture
def config(request, store_kind):
    """The configuration of a vault over an empty store."""
    return request.getfixturevalue(f"{store_kind}_config")


@pytest.fixture
def postgres_config(prepared_schemas):
    """The configuration for tests that need Postgres."""
    with prepared_schemas.lend() as schema:
        yield make_config(prepared_schemas.url, postgres_schema=schema)


@pytest.fixture
def sqlite_config(tmp_path):
    """The configuration for tests that need SQLite."""
    return make_config(f"sqlite:///{tmp_path}/vault.db")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def opened(config, clock):
    """Open vaults over the same store, as other processes would; all are closed at the end."""
    async with AsyncExitStack() as stack:

        async def open_one(refresher=None, **options):
            options = {"clock": clock, **options}
            refreshers = {} if refresher is None else {"acme": refresher}
            return await stack.enter_async_context(open_vault(config, refreshers=refreshers, **options))

        yield open_one


@pytest.fixture
def provider():
    with scripted_provider() as scripted:
        yield scripted
