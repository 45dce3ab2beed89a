"""Fixtures of the tests of remembered rows."""

import itertools

import pytest
from tests.support.databases import SECRET

from vault_adapters import VaultConfig

_numbers = itertools.count()


@pytest.fixture
def url(postgres):
    """Give the URL of an empty database."""
    return postgres.create_database(f"reading_{next(_numbers)}")


@pytest.fixture
def make_config():
    """Give a function that makes a configuration with the cheapest scrypt."""

    def make(url, **settings):
        return VaultConfig(url, encryption_secret=SECRET, scrypt_log2_n=14, **settings)

    return make
