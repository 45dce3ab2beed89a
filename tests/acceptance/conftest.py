import itertools

import pytest
from tests.acceptance.crowd import SECRET
from tests.contract.distributed import CITUS, DistributedSchema

from vault_adapters import VaultConfig

_numbers = itertools.count()


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def acceptance_database(postgres):
    """One database for all tests; each test has its own schema in it."""
    return postgres.create_database("acceptance")


@pytest.fixture(scope="session")
def distributed_schema():
    """Tables on the Citus cluster that the environment names."""
    with DistributedSchema() as schema:
        yield schema


@pytest.fixture(params=["sqlite", "postgres", *CITUS])
def store(request, tmp_path):
    """Fields of a `VaultConfig` for an empty store that several processes can open."""
    if request.param == "sqlite":
        yield {"database_url": f"sqlite:///{tmp_path}/vault.db"}
    elif request.param == "postgres":
        database = request.getfixturevalue("acceptance_database")
        yield {"database_url": database, "postgres_schema": f"acceptance_{next(_numbers)}"}
    else:
        distributed = request.getfixturevalue("distributed_schema")
        with distributed.lend() as schema:
            yield {"database_url": distributed.url, "postgres_schema": schema}


@pytest.fixture
def config(store):
    return VaultConfig(encryption_secret=SECRET, scrypt_log2_n=14, **store)
