"""Each `connect_*` recipe runs, with a provider on loopback in place of Google."""

import importlib.util
import sys
from pathlib import Path

import httpx2
import pytest
from tests.adapters.connect.applications import agree, client_of
from tests.adapters.connect.test_connect_hosts import stating

from vault_adapters import Account, VaultConfig, generate_encryption_secret, open_vault
from vault_adapters import providers as packaged
from vault_adapters.testing.openid import openid_provider

pytestmark = pytest.mark.pages

RECIPES = Path(__file__).parents[2] / "docs" / "how-to" / "recipes"


@pytest.fixture
def provider(monkeypatch, tmp_path):
    """A provider that plays Google for a recipe, and the recipe's environment."""
    with openid_provider() as running:
        monkeypatch.setattr(packaged, "refresher", lambda name, client_id, secret: running.refresher(name))
        variables = {
            "DATABASE_URL": f"sqlite:///{tmp_path}/vault.db",
            "ENCRYPTION_SECRET": generate_encryption_secret(),
            "TOKEN_VAULT_SCRYPT_LOG2_N": "14",
            "REDIRECT_URI": "http://localhost/connect/callback/{provider}",
            "GOOGLE_CLIENT_ID": running.client_id,
            "GOOGLE_CLIENT_SECRET": running.client_secret,
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield running


def recipe(name, monkeypatch):
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


async def stored():
    async with open_vault(VaultConfig.from_env()) as vault:
        return await vault.get_account(Account("t1", "google", "user-1"))


async def test_the_recipe_for_fastapi(provider, monkeypatch):
    app = recipe("connect_fastapi", monkeypatch).app
    for _ in range(2):  # as two tests of a host open one application
        async with app.router.lifespan_context(app) as state, client_of(stating(app, state)) as browser:
            finished = await browser.get(await agree(browser, "http://localhost/connect/google"))
        assert (finished.status_code, finished.headers["location"]) == (303, "/settings")
    assert (await stored()).label == "Ana"


def test_the_recipe_for_django(provider, monkeypatch):
    import anyio
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.urls import clear_url_caches

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["localhost"], SECRET_KEY="of the tests", ROOT_URLCONF=None)
        django.setup()
    settings.ROOT_URLCONF = urls = recipe("connect_django", monkeypatch)
    clear_url_caches()
    transport = httpx2.WSGITransport(WSGIHandler())
    with httpx2.Client(mounts={"http://localhost": transport}, headers={"x-tenant": "t1"}, trust_env=False) as browser:
        begun = browser.post("http://localhost/connect/google")
        agreed = browser.get(begun.headers["location"] + "&answer=ana@example.com")
        finished = browser.get(agreed.headers["location"])
    urls.vault.close()
    assert (finished.status_code, finished.headers["location"]) == (303, "/settings")
    assert anyio.run(stored).label == "Ana"
