"""Connects accounts at servers of the Model Context Protocol (MCP), and refreshes their tokens.

It needs ``token-vault[connect]``. The protocol's SDK is not needed; the tokens go into any of its transports by
`vault_adapters.clients.httpx2.VaultAuth`.
"""

try:
    from vault_adapters.connect.mcp.connector import McpConnector
    from vault_adapters.connect.mcp.identity import IdentityProvider
    from vault_adapters.providers.mcp import PROVIDER, McpRefresher
    from vault_adapters.providers.mcp_service import SERVICE, McpServiceRefresher
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error.name} is not installed: install token-vault[connect]", name=error.name) from None

__all__ = ["PROVIDER", "SERVICE", "IdentityProvider", "McpConnector", "McpRefresher", "McpServiceRefresher"]
