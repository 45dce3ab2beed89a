"""`token-vault import --from mcp`: the files of MCP clients, and that the vault refreshes what it took."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from tests.support.mcp_stub import mcp_stub

from vault_adapters import Account, open_vault
from vault_adapters.connect.mcp import McpRefresher

CANARY = "canary-7f3a9c"
REDIRECT_URI = "http://127.0.0.1:9/callback"
ALL = ("--server", "{url}", "--tenant", "t", "--private-addresses")


@pytest.fixture
def stub():
    with mcp_stub() as running:
        yield running


def logged_in(stub, path):
    """Log in with the SDK's own provider, which keeps tokens and client in a file; return both."""
    from tests.scale.mcp_sdk import provider as sdk_provider

    async def log_in():
        auth = sdk_provider(stub.url, path, REDIRECT_URI)
        async with httpx2.AsyncClient(auth=auth, trust_env=False) as http:
            assert (await http.post(stub.url)).status_code == 200

    asyncio.run(log_in())
    found = json.loads(path.read_text())
    return found["tokens"], found["client"]


def place_of(kind, stub, folder):
    """Keep a login as each client does; return the file or folder."""
    path = folder / "sdk.json"
    tokens, client = logged_in(stub, path)
    if kind == "mcp-remote":
        place = folder / "mcp-remote-v1"
        place.mkdir()
        digest = hashlib.md5(stub.url.encode(), usedforsecurity=False).hexdigest()
        (place / f"{digest}_tokens.json").write_text(json.dumps(tokens, indent=2))
        (place / f"{digest}_client_info.json").write_text(json.dumps(client, indent=2))
        return place
    if kind == "fastmcp":
        place = folder / "fastmcp"
        place.mkdir()
        asyncio.run(_keep_as_fastmcp(place, stub.url, tokens, client))
        return place
    return path


async def _keep_as_fastmcp(place, url, tokens, client):
    from fastmcp.client.auth.oauth import TokenStorageAdapter
    from key_value.aio.stores.filetree import (
        FileTreeStore,
        FileTreeV1CollectionSanitizationStrategy,
        FileTreeV1KeySanitizationStrategy,
    )
    from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

    store = FileTreeStore(
        data_directory=place,
        key_sanitization_strategy=FileTreeV1KeySanitizationStrategy(place),
        collection_sanitization_strategy=FileTreeV1CollectionSanitizationStrategy(place),
    )
    storage = TokenStorageAdapter(store, url)
    await storage.set_tokens(OAuthToken.model_validate(tokens))
    await storage.set_client_info(OAuthClientInformationFull.model_validate(client))


@pytest.mark.parametrize("kind", ["sdk", "mcp-remote", "fastmcp"])
def test_what_is_taken_is_refreshed_by_the_vault(token_vault, database, stub, tmp_path, kind):
    place = place_of(kind, stub, tmp_path)
    options = ("--server", stub.url, "--tenant", "t1", "--private-addresses")
    done = token_vault("import", "--from", "mcp", str(place), *options, "--json")
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["imported"] == 2

    async def refresh():
        async with open_vault(database.config(), refreshers={"mcp": McpRefresher(private_addresses=True)}) as vault:
            account = Account("t1", "mcp", stub.url)
            before = await vault.get_access_token(account)
            left = before.token.info.expires_at - datetime.now(UTC)
            assert timedelta(minutes=50) < left <= timedelta(hours=1)
            return before.token.value.reveal(), (await vault.refresh_account(account)).value.reveal()

    first, second = asyncio.run(refresh())
    assert (first != second, stub.refreshes, stub.lost, len(stub.codes_given)) == (True, 1, 0, 1)
    assert {first, second} <= set(stub.access)


@pytest.mark.parametrize(
    ("change", "options", "code"),
    [
        ({}, ("--server", "http://127.0.0.1:9/mcp", "--tenant", "t"), 2),  # without --private-addresses
        ({}, ("--tenant", "t", "--private-addresses"), 2),
        ({}, ("--server", "{url}", "--private-addresses"), 2),
        ({"tokens": CANARY}, ALL, 2),
        ({"client": {}}, ALL, 2),
        ({"client": {"client_id": "c", "issuer": CANARY}}, ALL, 14),
        ({"of another resource": True}, ALL, 14),
    ],
)
def test_what_cannot_be_refreshed_is_not_taken(token_vault, database, stub, tmp_path, change, options, code):
    tokens, client = {"access_token": CANARY, "refresh_token": CANARY}, {"client_id": "c"}
    (tmp_path / "kept.json").write_text(json.dumps({"tokens": tokens, "client": client} | change))
    if "of another resource" in change:
        stub.changes["resource"] = {"resource": "https://other.example.com"}
    filled = [each.format(url=stub.url) for each in options]
    done = token_vault("import", "--from", "mcp", "kept.json", *filled)
    assert (done.code, done.stdout) == (code, b"")
    assert CANARY not in done.stderr
    assert database.execute("SELECT count(*) FROM {token}") == [(0,)]
