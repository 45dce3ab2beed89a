"""Exchanges a user's ID token for tokens of an MCP server (cross-app access, RFC 8693 and RFC 7523)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from vault_adapters.connect.asking import unavailable
from vault_adapters.connect.exchanging import refused
from vault_adapters.connect.mcp.asking import Reach, small_object
from vault_adapters.connect.mcp.discovery import Discovered
from vault_adapters.providers.answers import read_answer
from vault_adapters.providers.assertions import JWT_BEARER
from vault_adapters.providers.client_auth import AuthMethod, signed_form
from vault_adapters.providers.mcp import Registration
from vault_domain.entities.causes import UNREADABLE_ANSWER
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet

_TYPES = "urn:ietf:params:oauth:token-type"


@frozen
class IdentityProvider:
    """The company's identity provider, and the vault's client there.

    Attributes:
        token_url: its token endpoint.
        client_id: the client's id.
        client_secret: its secret; None for a public client.
    """

    token_url: str
    client_id: str
    client_secret: Secret | None = field(default=None, repr=False)


async def asserted(
    provider: IdentityProvider,
    id_token: Secret,
    client: Registration,
    found: Discovered,
    scopes: tuple[str, ...] | None,
    reach: Reach,
) -> TokenSet:
    """Return the tokens that the MCP server's authorization server gives for an assertion of the identity provider.

    Raises:
        AuthorizationRefusedError, ProviderConfigurationError, ConnectError: one of both refused, or gave no usable
            answer.
    """
    wanted = {"resource": found.resource or found.server.issuer}
    if scopes:
        wanted["scope"] = " ".join(scopes)
    assertion = await _assertion(provider, id_token, found, wanted, reach)
    grant = {"grant_type": JWT_BEARER, "assertion": assertion, **wanted}
    result = read_answer(await reach.send(client.request(client.token_url, grant)))
    if isinstance(result, TokenSet):
        return result
    raise refused(result)


async def _assertion(
    provider: IdentityProvider, id_token: Secret, found: Discovered, wanted: Mapping[str, str], reach: Reach
) -> str:
    """Return the assertion that the identity provider gives for an ID token (RFC 8693)."""
    exchange = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "requested_token_type": f"{_TYPES}:id-jag",
        "audience": found.server.issuer,
        "subject_token": id_token.reveal(),
        "subject_token_type": f"{_TYPES}:id_token",
        **wanted,
    }
    method: AuthMethod = "none" if provider.client_secret is None else "client_secret_basic"
    outgoing = signed_form(
        provider.token_url,
        exchange,
        client_id=provider.client_id,
        client_secret=provider.client_secret,
        auth_method=method,
    )
    answer = await reach.send(outgoing)
    members = small_object(answer)
    assertion = None if members is None else members.get("access_token")
    if isinstance(assertion, str) and assertion:
        return assertion
    result = read_answer(answer)
    raise unavailable(UNREADABLE_ANSWER) if isinstance(result, TokenSet) else refused(result)
