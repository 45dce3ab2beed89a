"""Fixtures of the whole suite; tests/domain runs without this file, where next to nothing is installed."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend():
    """Run async tests on asyncio only: the vault uses no other event loop."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres():
    """Give a real PostgreSQL, started when the first test asks for it."""
    from tests.support.postgres import start_postgres

    with start_postgres() as server:
        yield server
