"""Each recipe of the how-to guide runs, in the framework that it is for."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from vault_adapters import Account, TokenSet, VaultConfig, generate_encryption_secret, open_vault

RECIPES = Path(__file__).parents[2] / "docs" / "how-to" / "recipes"
SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
async def environment(tmp_path):
    """Give the environment of a host whose vault holds one account."""
    variables = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/vault.db",
        "ENCRYPTION_SECRET": generate_encryption_secret(),
        "TOKEN_VAULT_SCRYPT_LOG2_N": "14",
    }
    async with open_vault(VaultConfig.from_env(variables)) as vault:
        await vault.store_token_set(Account("tenant-1", "github"), TokenSet("gho_value", expires_in=3600))
    path = os.pathsep.join([str(RECIPES), str(SOURCE)])
    return {**os.environ, **variables, "PYTHONPATH": path, "PYTHONWARNINGS": "error"}


async def run(script: str, environment: dict[str, str], *argv: str) -> str:
    command = [sys.executable, "-c", script, *argv]
    done = await anyio.run_process(command, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


async def test_fastapi(environment):
    script = """
import warnings
warnings.simplefilter("ignore")  # the test client's own warnings
from fastapi.testclient import TestClient
from fastapi_app import app
with TestClient(app) as client:
    print(client.get("/tenants/tenant-1/github").json())
    print(client.get("/tenants/tenant-1/github").status_code)
"""
    assert (await run(script, environment)).splitlines() == ["{'status': 'valid'}", "200"]


async def test_django(environment):
    script = """
import django
from django.conf import settings
settings.configure(ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x", DEBUG=True)
django.setup()
import sys, types
import django_views
from django.urls import path
urls = types.ModuleType("urls")
urls.urlpatterns = [
    path("sync/<str:tenant_id>", django_views.connection),
    path("async/<str:tenant_id>", django_views.repositories),
]
sys.modules["urls"] = urls
from django.test import AsyncClient, Client
print(Client().get("/sync/tenant-1").json(), Client().get("/sync/tenant-2").json())
import asyncio
async def main():
    print((await AsyncClient().get("/async/tenant-1")).json())
    print((await AsyncClient().get("/async/tenant-2")).status_code)
asyncio.run(main())
"""
    assert (await run(script, environment)).splitlines() == [
        "{'state': 'connected'} {'state': 'not_connected'}",
        "{'status': 'valid'}",
        "404",
    ]


async def test_celery_prefork(environment, tmp_path):
    environment |= {"CELERY_BROKER_URL": "filesystem://", "CELERY_RESULT_BACKEND": f"file://{tmp_path}/results"}
    (tmp_path / "results").mkdir()
    broker = tmp_path / "broker"
    broker.mkdir()
    setup = f"""
import celery_app
celery_app.app.conf.broker_transport_options = {{
    "data_folder_in": {str(broker)!r}, "data_folder_out": {str(broker)!r}, "control_folder": {str(tmp_path)!r}}}
"""
    environment["PYTHONWARNINGS"] = "ignore"  # Celery's own warnings
    with celery_worker(setup, environment, tmp_path / "worker.log"):
        ask = setup + 'print(celery_app.sync_repositories.delay("tenant-1").get(timeout=30))'
        assert (await run(ask, environment)).strip() == "valid"


@contextmanager
def celery_worker(setup: str, environment: dict[str, str], log: Path):
    """Run a prefork worker with two processes, as `celery worker` does."""
    argv = ["worker", "--pool=prefork", "--concurrency=2", "--loglevel=INFO", "--without-gossip", "--without-mingle"]
    script = setup + f"celery_app.app.worker_main({argv})"
    with log.open("wb") as output:
        worker = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 30
            while b" ready." not in log.read_bytes():
                assert worker.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield
        finally:
            worker.terminate()
            worker.wait(20)


async def test_host_tests(environment):
    script = "import anyio, host_tests\nanyio.run(host_tests.test_an_expired_token_is_refreshed)\nprint('passed')"
    assert (await run(script, environment)).strip() == "passed"


def test_every_recipe_stands_in_the_guide():
    guide = (RECIPES.parent / "use-in-your-framework.md").read_text()
    for recipe in RECIPES.glob("*.py"):
        assert f"recipes/{recipe.name}" in guide
