from contextlib import asynccontextmanager

import httpx2
import pytest
from tests.adapters.web import sample

from vault_adapters.testing import memory_vault
from vault_adapters.web import dashboard


@pytest.fixture
async def vault():
    async with memory_vault(refreshers=sample.refreshers()) as opened:
        yield opened


@asynccontextmanager
async def browsing(app, base="http://ops.test", **headers):
    """A client without a browser's protections, in front of an application."""
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=base, headers=headers) as client:
        yield client


@pytest.fixture
async def browser(vault):
    """A client of a dashboard without actions."""
    async with browsing(dashboard(vault)) as client:
        yield client


@pytest.fixture
async def acting(vault):
    """A client of a dashboard whose host allows actions."""
    async with browsing(dashboard(vault, actions=True, actor=lambda request: "ops@example.com")) as client:
        yield client
