"""A client for the conformance suite of the Model Context Protocol: connects through the vault, then calls the server.

The suite starts it with the server's URL, and names the scenario in MCP_CONFORMANCE_SCENARIO. Started with the path of
a socket, it serves runs of itself there (`tests/support/warm.py`).
"""

import asyncio
import json
import os
import sys
import warnings

import httpx2
from tests.support.warm_server import end_without_clearing, serve

from vault_adapters.clients.httpx2 import VaultAuth
from vault_adapters.connect.mcp import IdentityProvider, McpConnector, McpRefresher, McpServiceRefresher
from vault_adapters.testing import memory_vault

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

_TENANT, _SESSION = "tenant-1", "browser-session"
_REFRESHERS = {
    "mcp": McpRefresher(private_addresses=True),
    "mcp_service": McpServiceRefresher(private_addresses=True),
}
_MOST_STEPS_UP = 2
_METADATA_URL = "https://conformance-test.local/client-metadata.json"


async def main(server_url: str) -> None:
    """Connect, list the tools and call each; ask for further scopes when the server wants them."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    async with memory_vault(refreshers=_REFRESHERS) as vault:
        connector = McpConnector(
            vault,
            client_name="conformance",
            redirect_uri="http://localhost:3000/callback",
            client_metadata_url=_METADATA_URL,
            private_addresses=True,
            clients=await _by_hand(server_url, context) if "client_secret" in context else None,
        )
        if "client-credentials" in os.environ["MCP_CONFORMANCE_SCENARIO"]:
            credentials = {"client_secret": context.get("client_secret"), "private_key": context.get("private_key_pem")}
            account = await connector.connect_service(
                _TENANT, server_url, client_id=context["client_id"], **credentials
            )
            await _use(vault, account, server_url)
            return
        if "idp_id_token" in context:
            provider = IdentityProvider(context["idp_token_endpoint"], context["idp_client_id"])
            info = await connector.connect_by_identity(
                _TENANT, server_url, id_token=context["idp_id_token"], provider=provider
            )
            await _use(vault, info.account, server_url)
            return
        account, challenge = None, None
        for _ in range(1 + _MOST_STEPS_UP):
            account = await _connect(connector, server_url, account, challenge)
            challenge = await _use(vault, account, server_url)
            if challenge is None:
                return
        raise SystemExit("the server wants further scopes again and again")


async def _by_hand(server_url, context):
    """Return the client by its issuer, which a host reads once, when it registers the client."""
    url = httpx2.URL(server_url)
    async with httpx2.AsyncClient() as http:
        known = await http.get(url.copy_with(path=f"/.well-known/oauth-protected-resource{url.path}"))
    issuer = known.json()["authorization_servers"][0] if known.status_code == 200 else server_url
    return {issuer: (context["client_id"], context["client_secret"])}


async def _connect(connector, server_url, account, challenge):
    start = await connector.begin(_TENANT, server_url, session=_SESSION, account=account, challenge=challenge)
    async with httpx2.AsyncClient() as browser:
        answer = await browser.get(start.url)
    came = httpx2.URL(answer.headers["location"])
    return (await connector.finish(came.query.decode(), session=_SESSION, redirect_uri=came.path)).account


async def _use(vault, account, server_url):
    """Call the server; return its challenge if it wants further scopes."""
    challenges = []

    async def note(response):
        if response.status_code == 403:
            challenges.append(response.headers.get("www-authenticate", ""))

    http = httpx2.AsyncClient(auth=VaultAuth(vault, account), event_hooks={"response": [note]}, timeout=20)
    try:
        async with http, Client(streamable_http_client(server_url, http_client=http)) as client:
            for tool in (await client.list_tools()).tools:
                await client.call_tool(tool.name, {})
    except Exception:
        if not challenges:
            raise
    return challenges[-1] if challenges else None


if __name__ == "__main__":
    if sys.argv[1].startswith("/"):
        serve(sys.argv[1], __file__)
        asyncio.run(main(sys.argv[1]))
        end_without_clearing(0)
    asyncio.run(main(sys.argv[1]))
