"""An agent that calls the tools of an MCP server for a user of a tenant."""

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from vault_adapters import Account, TokenVault, VaultConfig, open_vault
from vault_adapters.clients.httpx2 import VaultAuth
from vault_adapters.connect.mcp import McpConnector, McpRefresher

REFRESHERS = {"mcp": McpRefresher()}
REDIRECT_URI = "https://app.example.com/mcp/callback"


def open_mcp_vault(config: VaultConfig):
    """Open the vault of every process: the web service, the agents and the worker."""
    return open_vault(config, refreshers=REFRESHERS)


def connector_of(vault: TokenVault) -> McpConnector:
    """Return what connects accounts, for the two routes of the web service."""
    return McpConnector(vault, client_name="Example", redirect_uri=REDIRECT_URI)


async def begin(vault: TokenVault, tenant_id: str, server_url: str, session: str) -> str:
    """Return where to send the user, who has typed the server's URL."""
    return (await connector_of(vault).begin(tenant_id, server_url, session=session)).url


async def callback(vault: TokenVault, query: str, session: str, path: str) -> Account:
    """Store the tokens when the user comes back, to ``/mcp/callback`` or to ``/mcp/callback/...``."""
    return (await connector_of(vault).finish(query, session=session, redirect_uri=path)).account


async def call(vault: TokenVault, account: Account, tool: str, arguments: dict[str, object]) -> object:
    """Call a tool; the vault refreshes the token if it is due, once for all processes."""
    async with (
        httpx2.AsyncClient(auth=VaultAuth(vault, account)) as http,
        Client(streamable_http_client(account.identifier or "", http_client=http)) as client,
    ):
        return await client.call_tool(tool, arguments)
