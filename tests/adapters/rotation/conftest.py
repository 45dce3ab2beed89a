import pytest
from tests.adapters.rotation.place import Place
from tests.support.prepared_schemas import PreparedSchemas


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def rotation_schemas(postgres):
    """The schemas of one database, which the tests use one after another."""
    schemas = PreparedSchemas(postgres.create_database("rotation_tests"))
    yield schemas
    schemas.close()


@pytest.fixture
def place(request, store_kind, tmp_path):
    """An empty database."""
    if store_kind == "sqlite":
        yield Place(f"sqlite:///{tmp_path}/vault.db")
        return
    schemas = request.getfixturevalue("rotation_schemas")
    with schemas.lend() as schema:
        yield Place(schemas.url, postgres_schema=schema, pool_size=3)
