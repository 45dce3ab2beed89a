"""Finds out where a taken MCP client is registered, so that the vault can refresh its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vault_adapters.importing.systems.mcp import Stored
from vault_domain import ConfigurationError, IdentityRefusedError, InvalidInputError


async def account_of(server_url: str, stored: Stored, *, private: bool) -> tuple[str, str, Mapping[str, str]]:
    """Return the name of the provider, the account's identifier, and what is kept with its access token.

    Clients of the protocol keep no endpoints, so the server is asked for them, as for a new account.

    Args:
        server_url: the MCP server.
        stored: its tokens and its client.
        private: whether the servers may have private addresses.

    Raises:
        InvalidInputError: the URL is not valid, or no client is kept with the tokens.
        IdentityRefusedError, ConnectError: the server's documents are of another server, or it does not answer.
        ConfigurationError: the extra ``connect`` is not installed.
    """
    try:
        from vault_adapters.connect.mcp.asking import Reach
        from vault_adapters.connect.mcp.discovery import canonical, discover
        from vault_adapters.connect.mcp.registration import at
        from vault_adapters.providers.client_auth import as_auth_method, as_client_secret
        from vault_adapters.providers.endpoint import as_client_id
        from vault_adapters.providers.http import opened
        from vault_adapters.providers.mcp import PROVIDER, kept_with_token
    except ModuleNotFoundError as error:
        raise ConfigurationError(str(error), code="missing_extra") from None

    client = stored.client
    if not client.get("client_id"):
        raise InvalidInputError("no client is kept with the tokens, and no other client can use their refresh token")
    identifier = canonical(Reach(None, private).endpoint(server_url, "--server"))
    async with opened(None) as http:
        found = await discover(identifier, Reach(http, private))
    if client.get("issuer") not in (None, "", found.server.issuer):
        raise IdentityRefusedError(reason="iss")
    secret = as_client_secret(client.get("client_secret") or None)
    method: Any = client.get("token_endpoint_auth_method") or ("none" if secret is None else "client_secret_post")
    registration = at(found.server, as_client_id(client["client_id"]), secret, as_auth_method(method))
    return PROVIDER, identifier, kept_with_token(registration, found.resource)
