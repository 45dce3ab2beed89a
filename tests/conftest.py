"""Fixtures of the whole suite. The session `domain` of nox, which installs few packages, does not load this file."""

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
