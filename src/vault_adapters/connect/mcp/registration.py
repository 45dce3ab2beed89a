"""The OAuth client under which a tenant's accounts are connected at one authorization server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import evolve

from vault_adapters.connect.asking import unavailable
from vault_adapters.connect.mcp.asking import Reach, small_object
from vault_adapters.connect.mcp.discovery import AuthorizationServer
from vault_adapters.connect.vaults import Keeper
from vault_adapters.providers.client_auth import AuthMethod, as_auth_method, as_client_secret
from vault_adapters.providers.endpoint import as_client_id
from vault_adapters.providers.mcp import Registration
from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.causes import UNREADABLE_ANSWER
from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.entities.secret import Secret

CLIENTS = "mcp_client"
"""Name of the provider under which registrations are stored; their identifier is the issuer."""

_USABLE: tuple[AuthMethod, ...] = ("client_secret_basic", "client_secret_post", "none")
_LAST = 253_402_300_000  # the year 9999, as a Unix time


def at(server: AuthorizationServer, client_id: str, secret: Secret | None, method: AuthMethod) -> Registration:
    """Return a client of an authorization server."""
    urls = server.issuer, server.authorization_url, server.token_url, server.revocation_url
    return Registration(client_id, secret, method, *urls, server.sends_iss)


async def kept(keeper: Keeper, tenant_id: str, issuer: str) -> Registration | None:
    """Return a tenant's registration at an issuer; None if there is none that can be used."""
    token = await keeper.token(_key(tenant_id, issuer))
    if token is None or (token.info.expires_at is not None and token.info.expires_at <= datetime.now(UTC)):
        return None
    try:
        return Registration.of(token.value.reveal_fields())
    except (InvalidInputError, KeyError):
        return None


async def keep(keeper: Keeper, tenant_id: str, registration: Registration) -> None:
    """Store a tenant's registration, sealed like a token."""
    fields = registration.members | ({"sends_iss": "1"} if registration.sends_iss else {})
    value = Secret.from_fields(**fields)
    await keeper.keep(_key(tenant_id, registration.issuer), value, registration.expires_at)


async def forget(keeper: Keeper, tenant_id: str, issuer: str) -> None:
    """Delete a tenant's registration, because the authorization server does not know it any more."""
    await keeper.forget(_key(tenant_id, issuer))


async def register(
    server: AuthorizationServer, reach: Reach, *, client_name: str, redirect_uri: str, scopes: tuple[str, ...] | None
) -> Registration:
    """Register a client (RFC 7591).

    Raises:
        ConfigurationError: the server has no endpoint for this, and no other client is configured.
        ConnectError: the server gave no usable answer.
    """
    if server.registration_url is None:
        raise ConfigurationError(
            "the authorization server registers no clients: pass clients={...}, or a client_metadata_url",
            code="client_unknown",
        )
    method = next((each for each in _USABLE if each in server.auth_methods), None)
    if method is None:
        raise ConfigurationError("the authorization server wants another way to authenticate", code="client_unknown")
    wanted: dict[str, Any] = {
        "client_name": client_name,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "application_type": "web" if redirect_uri.startswith("https:") else "native",
    }
    if scopes:
        wanted["scope"] = " ".join(scopes)
    answer = small_object(await reach.post(server.registration_url, wanted))
    if answer is None:
        raise unavailable(UNREADABLE_ANSWER)
    return _read(answer, server, method)


def _read(answer: Mapping[str, Any], server: AuthorizationServer, asked: AuthMethod) -> Registration:
    try:
        client_id = as_client_id(answer.get("client_id"))  # type: ignore[arg-type]
        method = as_auth_method(answer.get("token_endpoint_auth_method") or asked)
        secret = None if method == "none" else as_client_secret(answer.get("client_secret"))
    except InvalidInputError:
        raise unavailable(UNREADABLE_ANSWER) from None
    if method not in _USABLE or (method != "none" and secret is None):
        raise unavailable(UNREADABLE_ANSWER)
    ends = answer.get("client_secret_expires_at")
    is_time = isinstance(ends, int) and 0 < ends < _LAST
    expires_at = datetime.fromtimestamp(int(str(ends)), UTC) if is_time else None
    return evolve(at(server, client_id, secret, method), expires_at=expires_at)


def _key(tenant_id: str, issuer: str) -> TokenKey:
    return Account(tenant_id, CLIENTS, issuer).key(TokenKind.API_KEY)
