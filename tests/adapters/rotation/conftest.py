import itertools

import pytest
from tests.adapters.rotation.place import Place
from tests.support.scrypt import cheap_scrypt

__all__ = ["cheap_scrypt"]

_numbers = itertools.count()


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def rotation_database(postgres):
    """One database for all tests; each has a schema of its own in it."""
    return postgres.create_database("rotation_tests")


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """An empty database."""
    if request.param == "sqlite":
        return Place(f"sqlite:///{tmp_path}/vault.db")
    url = request.getfixturevalue("rotation_database")
    return Place(url, postgres_schema=f"rotation_{next(_numbers)}", pool_size=3)
