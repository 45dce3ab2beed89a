import itertools

import pytest
from tests.acceptance.crowd import SECRET

from vault_adapters import VaultConfig

_numbers = itertools.count()


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def acceptance_database(postgres):
    """One database for all tests; each test has its own schema in it."""
    return postgres.create_database("acceptance")


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, tmp_path):
    """Fields of a `VaultConfig` for an empty store that several processes can open."""
    if request.param == "sqlite":
        return {"database_url": f"sqlite:///{tmp_path}/vault.db"}
    database = request.getfixturevalue("acceptance_database")
    return {"database_url": database, "postgres_schema": f"acceptance_{next(_numbers)}"}


@pytest.fixture
def config(store):
    return VaultConfig(encryption_secret=SECRET, scrypt_log2_n=14, **store)
