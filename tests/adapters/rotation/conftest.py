import hashlib
import itertools

import pytest
from tests.adapters.rotation.place import Place

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


@pytest.fixture
def cheap_scrypt(monkeypatch):
    """Make key derivation cheap, because these tests open hundreds of vaults and do not test the derivation."""

    def derive(password, *, salt, n, r, p, maxmem, dklen):
        return hashlib.pbkdf2_hmac("sha512", password, salt + bytes((n.bit_length(), r, p)), 1, dklen)

    monkeypatch.setattr("hashlib.scrypt", derive)
