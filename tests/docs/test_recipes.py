"""Each recipe of the how-to guide runs, in the framework that it is for."""

import base64
import hmac
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest
from attrs import frozen

from vault_adapters import (
    Account,
    ReauthorizationRequiredError,
    RefreshFailedError,
    TokenKind,
    TokenSet,
    VaultConfig,
    generate_encryption_secret,
    open_vault,
)
from vault_adapters.testing import ScriptedRefresher

pytestmark = [pytest.mark.pages, pytest.mark.real_scrypt]

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
        await vault.store_token_set(Account("tenant-1", "github", "42"), TokenSet("gho_value", expires_in=3600))
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
    print(client.get("/tenants/tenant-1/github/42").json())
    print(client.get("/tenants/tenant-1/github/42").status_code)
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
    path("sync/<str:tenant_id>/<str:identifier>", django_views.connection),
    path("async/<str:tenant_id>/<str:identifier>", django_views.repositories),
]
sys.modules["urls"] = urls
from django.test import AsyncClient, Client
print(Client().get("/sync/tenant-1/42").json(), Client().get("/sync/tenant-2/42").json())
import asyncio
async def main():
    print((await AsyncClient().get("/async/tenant-1/42")).json())
    print((await AsyncClient().get("/async/tenant-2/42")).status_code)
asyncio.run(main())
"""
    assert (await run(script, environment)).splitlines() == [
        "{'state': 'connected'} {'state': 'not_connected'}",
        "{'status': 'valid'}",
        "404",
    ]


async def test_flask(environment):
    script = """
from concurrent.futures import ThreadPoolExecutor
from flask_app import app
def ask(tenant_id):
    answer = app.test_client().get(f"/tenants/{tenant_id}/github/42")
    return answer.status_code, answer.json
print(set(map(str, ThreadPoolExecutor(8).map(ask, ["tenant-1"] * 40))))
from vault_adapters import Account
import flask_app
token = flask_app.vault.get_access_token(Account("tenant-1", "github", "42")).token
flask_app.vault.mark_token_invalid(token.info, "invalid_token")
print(*ask("tenant-1"))
"""
    assert (await run(script, environment)).splitlines() == [
        "{\"(200, {'status': 'valid'})\"}",
        "409 {'error': 'connect your account again'}",
    ]


SLOW = Account("tenant-2", "github")

SLOW_REFRESH = """
import asyncio
from vault_adapters import Account, RefreshFailedError, TokenSet, VaultConfig, open_sync_vault
from vault_adapters.testing import ScriptedRefresher

class Slow(ScriptedRefresher):
    async def refresh(self, request):
        await asyncio.sleep(8)  # longer than an idle process of Celery takes to end
        return await super().refresh(request)

refreshers = {"github": Slow(TokenSet("new", "refresh-2", expires_in=3600))}
celery_app.vault = open_sync_vault(VaultConfig.from_env(), refreshers=refreshers)

@celery_app.app.task
def begin():
    try:
        celery_app.vault.ensure_access_token(Account("tenant-2", "github"), timeout=0.2)
    except RefreshFailedError:
        return "begun"
"""


@pytest.fixture
def celery(environment, tmp_path):
    """Prepare the environment for a broker of files; return the code that begins each script."""
    environment |= {"CELERY_BROKER_URL": "filesystem://", "CELERY_RESULT_BACKEND": f"file://{tmp_path}/results"}
    environment["PYTHONWARNINGS"] = "ignore"  # Celery's own warnings
    (tmp_path / "results").mkdir()
    broker = tmp_path / "broker"
    broker.mkdir()
    return f"""
import celery_app
celery_app.app.conf.broker_transport_options = {{
    "data_folder_in": {str(broker)!r}, "data_folder_out": {str(broker)!r}, "control_folder": {str(tmp_path)!r}}}
"""


async def test_celery_prefork(environment, tmp_path, celery):
    """A task gets a token. A worker process does not end while a refresh runs, even if its caller no longer waits."""
    async with open_vault(VaultConfig.from_env(environment)) as vault:
        await vault.store_token(SLOW.key(TokenKind.REFRESH_TOKEN), "refresh-1")
        with celery_worker(celery + SLOW_REFRESH, environment, tmp_path / "worker.log"):
            synced = 'print(celery_app.sync_repositories.delay("tenant-1", "42").get(timeout=30))'
            begun = "print(begin.delay().get(timeout=30))"
            assert (await run(f"{celery}{SLOW_REFRESH}{synced}\n{begun}", environment)).split() == ["valid", "begun"]
        token = await vault.get_access_token(SLOW)
        assert token is not None, (tmp_path / "worker.log").read_text()
        assert token.token.value.reveal() == "new"


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


async def test_a_whole_service_and_its_tests(environment, tmp_path):
    """The guide's tests open the guide's service once for each test, as a host's tests do."""
    environment["PYTHONWARNINGS"] = "ignore"  # the test client's own warnings
    pytest_of_the_host = [sys.executable, "-m", "pytest", "-c", os.devnull, "-p", "no:cacheprovider", "-n", "0", "-q"]
    done = await anyio.run_process(
        [*pytest_of_the_host, str(RECIPES / "service_tests.py")], env=environment, cwd=tmp_path, check=False
    )
    assert (done.returncode, b"3 passed" in done.stdout) == (0, True), done.stdout.decode()


async def test_webhooks_come_in_order_once_each(environment, tmp_path):
    refresher = ScriptedRefresher(RefreshFailedError(), TokenSet("v", "r2"), ReauthorizationRequiredError())
    config = VaultConfig.from_env(environment)
    account = Account("tenant-2", "google")
    async with open_vault(config, refreshers={"google": refresher}) as vault:
        await vault.store_token_set(account, TokenSet("v", "r1"))
        for error in (RefreshFailedError, None, ReauthorizationRequiredError):
            with pytest.raises(error) if error else nullcontext():
                await vault.refresh_account(account)
    secret, place = b"a secret of twenty-four bytes", tmp_path / "cursor"
    environment |= {
        "WEBHOOK_SECRET": "whsec_" + base64.b64encode(secret).decode(),
        "WEBHOOK_CURSOR_FILE": str(place),
    }
    with receiver(failures=2) as (url, requests):
        environment["WEBHOOK_URL"] = url
        recipe = [sys.executable, str(RECIPES / "webhooks.py")]
        until_taken(recipe, environment, requests, 3)
        # A sender that starts again goes on behind the stored cursor.
        async with open_vault(config) as vault:
            await vault.store_token_set(account, TokenSet("v", "r3"))
        async with open_vault(config, refreshers={"google": ScriptedRefresher(RefreshFailedError())}) as vault:
            with pytest.raises(RefreshFailedError):
                await vault.refresh_account(account)
        until_taken(recipe, environment, requests, 4)
    taken = [request for request in requests if request.taken]
    assert [request.body["type"] for request in taken] == [
        "refresh_failing",
        "refresh_recovered",
        "reauthorization_required",
        "refresh_failing",
    ]
    assert [request.taken for request in requests] == [False, False, True, True, True, True]
    assert len({request.id for request in requests}) == len({request.id for request in taken}) == 4
    assert {request.body["data"]["tenant_id"] for request in requests} == {"tenant-2"}
    for request in requests:
        signed = f"{request.id}.{request.timestamp}.".encode() + request.raw
        expected = base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()
        assert request.signature == f"v1,{expected}"
        assert abs(time.time() - int(request.timestamp)) < 300


async def test_a_refused_webhook_does_not_hold_up_the_others(environment, tmp_path):
    config, account = VaultConfig.from_env(environment), Account("tenant-2", "google")
    refresher = ScriptedRefresher(RefreshFailedError(), TokenSet("v", "r2"))
    async with open_vault(config, refreshers={"google": refresher}) as vault:
        await vault.store_token_set(account, TokenSet("v", "r1"))
        for error in (RefreshFailedError, None):
            with pytest.raises(error) if error else nullcontext():
                await vault.refresh_account(account)
    environment |= {
        "WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"a secret of twenty-four bytes").decode(),
        "WEBHOOK_CURSOR_FILE": str(tmp_path / "cursor"),
    }
    with receiver(failures=0, refused="refresh_failing", status=422) as (url, requests):
        environment["WEBHOOK_URL"] = url
        until_taken([sys.executable, str(RECIPES / "webhooks.py")], environment, requests, 1)
    types = [request.body["type"] for request in requests]
    assert types == ["refresh_failing"] * 5 + ["refresh_recovered"]


@frozen
class Posted:
    id: str
    timestamp: str
    signature: str
    raw: bytes
    taken: bool

    @property
    def body(self):
        return json.loads(self.raw)


@contextmanager
def receiver(*, failures: int, refused: str = "", status: int = 503):
    """Run a receiver on loopback that refuses its first requests; give its URL and what it got."""
    requests: list[Posted] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            raw = self.rfile.read(int(self.headers["content-length"]))
            headers = [self.headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")]
            taken = len(requests) >= failures and json.loads(raw)["type"] != refused
            requests.append(Posted(*headers, raw, taken))
            self.send_response(204 if taken else status)
            self.end_headers()

        def log_message(self, *_):
            """Be silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)


def until_taken(command, environment, requests, number):
    """Run a command until the receiver has taken this many events, and the command has stored the last cursor."""
    place, deadline = Path(environment["WEBHOOK_CURSOR_FILE"]), time.monotonic() + 60
    before = place.read_text() if place.exists() else ""

    def is_done():
        return sum(request.taken for request in requests) >= number and place.exists() and place.read_text() != before

    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        try:
            while not is_done():
                assert process.poll() is None, process.stderr.read().decode()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(0.5)  # the cursor of the last event is stored after the receiver has taken it
        finally:
            process.kill()


def test_every_recipe_stands_in_a_guide():
    guides = "".join(page.read_text() for page in RECIPES.parent.glob("*.md"))
    for recipe in RECIPES.glob("*.py"):
        assert f"recipes/{recipe.name}" in guides
