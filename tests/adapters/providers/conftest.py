import pytest
from tests.support.scripted_provider import scripted_provider


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def provider():
    with scripted_provider() as scripted:
        yield scripted
