import pytest
from tests.adapters.connect.applications import django_app, fastapi_app
from tests.adapters.connect.browser import REDIRECT_URI, Browser

from vault_adapters.connect import Connector
from vault_adapters.testing import ManualClock, memory_vault
from vault_adapters.testing.openid import openid_provider


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def provider():
    """An OpenID provider on loopback that makes no mistake."""
    with openid_provider() as running:
        yield running


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def vault(clock):
    async with memory_vault(clock=clock) as opened:
        yield opened


@pytest.fixture
def connector(vault, provider):
    return Connector(vault, {"local": provider.refresher()}, redirect_uri=REDIRECT_URI)


@pytest.fixture
def browser():
    return Browser()


@pytest.fixture(params=[fastapi_app, django_app], ids=["starlette", "django"])
def make_app(request):
    return request.param
