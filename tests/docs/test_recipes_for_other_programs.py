"""The recipes for programs of other languages run against an API on loopback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from tests.support.scripted_provider import Answer, scripted_provider

from vault_adapters import Account, TokenKind, TokenSet, VaultConfig, generate_encryption_secret, open_vault

pytestmark = [pytest.mark.pages, pytest.mark.real_scrypt]

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "docs" / "how-to" / "recipes"
GUIDE = RECIPES.parent / "use-tokens-in-other-programs.md"


@pytest.fixture
def environment(tmp_path):
    """Fill a vault, and return the environment in which a program finds `token-vault` and this vault."""
    variables = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/vault.db",
        "ENCRYPTION_SECRET": generate_encryption_secret(),
        "TOKEN_VAULT_SCRYPT_LOG2_N": "14",
    }

    async def prepare():
        async with open_vault(VaultConfig.from_env(variables)) as vault:
            await vault.store_token_set(Account("tenant-1", "acme"), TokenSet("good", expires_in=3600))
            await vault.store_token_set(Account("tenant-2", "acme"), TokenSet("dead"))
            await vault.store_token_set(Account("tenant-3", "acme"), TokenSet("bound", token_type="PoP"))
            key = Account("tenant-4", "anthropic").key(TokenKind.API_KEY)
            await vault.store_token(key, "key")
            dead = await vault.get_access_token(Account("tenant-2", "acme"))
            await vault.mark_token_invalid(dead.token, "invalid_token")

    anyio.run(prepare)
    command = tmp_path / "bin" / "token-vault"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m vault_adapters.cli "$@"\n')
    command.chmod(0o700)
    path = f"{command.parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src"), **variables}


@pytest.fixture
def api():
    def respond(request):
        is_good = request.headers.get("authorization") == "Bearer good" or request.headers.get("x-api-key") == "key"
        return Answer(json={"items": 3}) if is_good else Answer(status=401)

    with scripted_provider(respond) as running:
        yield running


RUNNING = {
    "call_api.sh": (["sh"], ("jq", "curl"), 9, ""),
    "call_api.mjs": (["node"], ("node",), 1, "connect the account again"),
    "call_api.go": (["go", "run"], ("go",), 1, "connect the account again"),
}


@pytest.mark.parametrize("recipe", RUNNING)
def test_a_recipe_calls_an_api(recipe, environment, api):
    program, needed, code, message = RUNNING[recipe]
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{missing} not installed")

    def run(tenant, provider="acme"):
        argv = [*program, str(RECIPES / recipe), tenant, provider, api.resource_url]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)

    done = run("tenant-1")
    assert (done.returncode, '"items":' in done.stdout) == (0, True), done.stderr
    assert len(api.requests) == 1
    refused = run("tenant-2")
    assert refused.returncode == code, refused.stderr
    assert message in refused.stderr
    bound = run("tenant-3")
    assert (bound.returncode, "needs a proof" in bound.stderr) == (1, True), bound.stderr
    assert len(api.requests) == 1
    keyed = run("tenant-4", "anthropic")  # which wants its key in a header of its own
    assert (keyed.returncode, '"items":' in keyed.stdout) == (0, True), keyed.stderr
    assert "authorization" not in {name.lower() for name in api.requests[-1].headers}


def test_curl_in_the_reference_takes_a_value_for_a_header_only(environment, tmp_path):
    """A key with quotes and line ends sets no options of curl, and adds no headers."""
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("curl or bash not installed")
    url = f"file://{tmp_path}/read"
    (tmp_path / "read").write_text("read by curl")
    value = f'key"\noutput = "{tmp_path}/written"\nurl = "{url}"\nheader = "X-Added: 1'
    [line] = [line for line in (ROOT / "docs/reference/cli.md").read_text().splitlines() if line.startswith("$ curl ")]
    command = [str(tmp_path / "bin" / "token-vault"), "store", "tenant-1", "clerk", "api_key"]
    subprocess.run(command, env=environment, input=value, text=True, check=True, capture_output=True, timeout=60)

    def respond(request):
        return Answer(json={"authorization": request.headers.get("authorization")})

    with scripted_provider(respond) as api:
        shell = ["bash", "-c", line.removeprefix("$ ").replace("URL", api.resource_url)]
        done = subprocess.run(shell, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        [request] = api.requests
    assert not (tmp_path / "written").exists()
    assert "read by curl" not in done.stdout
    assert json.loads(done.stdout) == {"authorization": "Bearer " + value.replace("\n", "")}
    assert "x-added" not in {name.lower() for name in request.headers}


def test_every_recipe_stands_in_the_guide():
    assert all(f"recipes/{recipe}" in GUIDE.read_text() for recipe in RUNNING)
    assert {path.name for path in RECIPES.glob("call_api.*")} == set(RUNNING)
