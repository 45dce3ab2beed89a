"""Makes the API key of a service at an MCP server."""

from __future__ import annotations

from vault_adapters.connect.mcp.discovery import Discovered
from vault_adapters.providers.signing_key import SigningKey
from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.secret import Secret


def service_key(
    found: Discovered,
    client_id: str,
    client_secret: Secret | None,
    private_key: Secret | None,
    scopes: tuple[str, ...] | None,
) -> Secret:
    """Return the API key of a service at a server.

    Raises:
        InvalidInputError: not exactly one of secret and private key is given, or the private key cannot be read.
    """
    if (client_secret is None) == (private_key is None):
        raise InvalidInputError("give either a client_secret or a private_key")
    methods = ("private_key_jwt",) if private_key is not None else ("client_secret_basic", "client_secret_post")
    method = next((each for each in methods if each in found.server.auth_methods), methods[0])
    if private_key is not None:
        SigningKey.from_pem(private_key)
    fields = {
        "client_id": client_id,
        "client_secret": None if client_secret is None else client_secret.reveal(),
        "private_key": None if private_key is None else private_key.reveal(),
        "auth_method": method,
        "issuer": found.server.issuer,
        "token_url": found.server.token_url,
        "resource": found.resource,
        "scope": " ".join(scopes) if scopes else None,
    }
    return Secret.from_fields(**{name: text for name, text in fields.items() if text})
