"""FastMCP keeps what it keeps in the vault, and calls with tokens that the vault refreshes."""

import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest

from vault_adapters.clients.httpx2 import VaultAuth
from vault_adapters.clients.key_value import VaultKeyValue
from vault_adapters.connect.mcp import McpConnector, McpRefresher
from vault_adapters.testing import memory_vault

pytestmark = pytest.mark.peers

SERVER = Path(__file__).with_name("fastmcp_server.py")


@pytest.fixture(scope="module")
def fastmcp():
    """Give what the tests use of FastMCP, which takes a second to import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastmcp import Client
        from fastmcp.server.auth import OAuthProxy
        from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
        from fastmcp.utilities.tests import HeadlessOAuth
        from mcp.server.auth.provider import AuthorizationParams
        from mcp.shared.auth import OAuthClientInformationFull
    return SimpleNamespace(
        Client=Client,
        OAuthProxy=OAuthProxy,
        StaticTokenVerifier=StaticTokenVerifier,
        HeadlessOAuth=HeadlessOAuth,
        AuthorizationParams=AuthorizationParams,
        OAuthClientInformationFull=OAuthClientInformationFull,
    )


@pytest.fixture(scope="module")
def server():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, SERVER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


async def test_its_client_keeps_tokens_and_registration_in_the_vault(fastmcp, server):
    async with memory_vault() as vault:
        for _ in range(2):
            store = VaultKeyValue(vault, "tenant-1")
            oauth = fastmcp.HeadlessOAuth(mcp_url=server, token_storage=store, scopes=["read"])
            async with fastmcp.Client(server, auth=oauth) as client:
                assert (await client.call_tool("add", {"a": 1, "b": 2})).data == 3
        kept = [info async for info in vault.iter_tokens("tenant-1")]
        assert len(kept) >= 2


async def test_its_oauth_proxy_keeps_clients_and_transactions_in_the_vault(fastmcp):
    async with memory_vault() as vault:

        def proxy():
            return fastmcp.OAuthProxy(
                upstream_authorization_endpoint="https://upstream.example/authorize",
                upstream_token_endpoint="https://upstream.example/token",
                upstream_client_id="upstream",
                upstream_client_secret="of-the-upstream-client",
                token_verifier=fastmcp.StaticTokenVerifier({"t": {"client_id": "c", "scopes": []}}),
                base_url="https://proxy.example",
                jwt_signing_key="k" * 40,
                client_storage=VaultKeyValue(vault, "host"),
            )

        back = "http://127.0.0.1:9/callback"
        await proxy().register_client(fastmcp.OAuthClientInformationFull(client_id="c-1", redirect_uris=[back]))
        found = await proxy().get_client("c-1")  # another process
        asked = fastmcp.AuthorizationParams(
            state="s", scopes=[], code_challenge="x" * 43, redirect_uri=back, redirect_uri_provided_explicitly=True
        )
        assert "txn_id=" in await proxy().authorize(found, asked)
        assert len([info async for info in vault.iter_tokens("host")]) == 2


async def test_its_client_calls_with_tokens_that_the_vault_refreshes(fastmcp, server):
    refreshers = {"mcp": McpRefresher(private_addresses=True)}
    async with memory_vault(refreshers=refreshers) as vault:
        connector = McpConnector(
            vault, client_name="agent", redirect_uri="http://127.0.0.1:9/callback", private_addresses=True
        )
        start = await connector.begin("t1", server, session="s")
        async with httpx2.AsyncClient(trust_env=False) as browser:
            answer = await browser.get(start.url)
        came = httpx2.URL(answer.headers["location"])
        info = await connector.finish(came.query.decode(), session="s", redirect_uri=came.path)
        await vault.refresh_account(info.account)
        async with fastmcp.Client(server, auth=VaultAuth(vault, info.account)) as client:
            assert (await client.call_tool("add", {"a": 1, "b": 2})).data == 3
