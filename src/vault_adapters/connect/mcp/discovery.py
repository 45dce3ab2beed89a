"""Finds the authorization server of an MCP server (RFC 9728, RFC 8414, OpenID Connect Discovery 1.0)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from vault_adapters.connect.asking import unavailable
from vault_adapters.connect.mcp.asking import Reach
from vault_adapters.providers.challenge import parameters_of
from vault_adapters.providers.http import Outgoing
from vault_domain.entities.causes import UNREADABLE_ANSWER
from vault_domain.entities.errors import IdentityRefusedError, InvalidInputError
from vault_domain.entities.text import as_scopes

_RESOURCE, _SERVER = "/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server"
_OPENID = "/.well-known/openid-configuration"
_HELLO = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "token-vault", "version": "1"},
    },
}


@frozen
class Challenge:
    """What a server's ``WWW-Authenticate`` says (RFC 6750 section 3, RFC 9728 section 5.1).

    Attributes:
        metadata_url: where the metadata of the protected resource are, or None.
        scopes: the scopes that the request needs; None if the server names none.
    """

    metadata_url: str | None = None
    scopes: tuple[str, ...] | None = None

    @classmethod
    def of(cls, header: str) -> Challenge:
        """Read a header; what cannot be read is left out."""
        found = parameters_of(header)
        return cls(found.get("resource_metadata"), _scopes(found.get("scope")))


@frozen
class AuthorizationServer:
    """What the vault must know of an authorization server.

    Attributes:
        issuer: its issuer identifier.
        authorization_url, token_url: its endpoints.
        registration_url, revocation_url: further endpoints, or None.
        auth_methods: how clients may authenticate at the token endpoint.
        scopes: the scopes that it supports; None if it does not say.
        sends_iss: whether its callbacks have the parameter ``iss`` (RFC 9207).
        takes_metadata_url: whether the URL of a client's metadata document may be a client id.
    """

    issuer: str
    authorization_url: str
    token_url: str
    registration_url: str | None = None
    revocation_url: str | None = None
    auth_methods: tuple[str, ...] = ("client_secret_basic",)
    scopes: tuple[str, ...] | None = None
    sends_iss: bool = False
    takes_metadata_url: bool = False


@frozen
class Discovered:
    """An MCP server with its authorization server.

    Attributes:
        server: the authorization server.
        resource: the resource indicator (RFC 8707); None if the server has no metadata, as before 2025-06-18.
        scopes: the scopes to ask for if the host names none; None: ask for no scope.
        name: the server's name for people, or None.
    """

    server: AuthorizationServer
    resource: str | None
    scopes: tuple[str, ...] | None
    name: str | None = None


def canonical(server_url: str) -> str:
    """Return the canonical URI of an MCP server: scheme and host in lower case, no slash for an empty path."""
    parts = urlsplit(server_url)
    path = "" if parts.path == "/" else parts.path
    return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), path=path).geturl()


async def discover(server_url: str, reach: Reach, challenge: Challenge | None = None) -> Discovered:
    """Find out where a user of this MCP server is authorized.

    Args:
        server_url: the canonical URI of the server.
        reach: sends the requests.
        challenge: what the server answered to a request; None: ask it.

    Raises:
        ConnectError: the server or its authorization server gave no usable answer.
        IdentityRefusedError: the metadata are of another resource (``resource``) or of another issuer (``iss``).
    """
    said = await _challenge(server_url, reach) if challenge is None else challenge
    place, metadata = await _resource_metadata(server_url, reach, said)
    if metadata is None:
        server = await _server_metadata(_origin(server_url), reach, [_origin(server_url) + _SERVER], is_legacy=True)
        return Discovered(server or _legacy(_origin(server_url)), None, _wanted(said, None, server))
    resource = metadata.get("resource")
    if not isinstance(resource, str) or not _is_of(resource, server_url, place):
        raise IdentityRefusedError(reason="resource")
    servers = metadata.get("authorization_servers")
    issuer = servers[0] if isinstance(servers, list) and servers else _origin(server_url)
    if not isinstance(issuer, str) or not reach.places(issuer):
        raise unavailable(UNREADABLE_ANSWER)
    server = await _server_metadata(issuer, reach, _places_of(issuer))
    if server is None:
        raise unavailable(UNREADABLE_ANSWER)
    name = metadata.get("resource_name")
    label = name if isinstance(name, str) and 1 <= len(name) <= 255 and name.isprintable() else None
    return Discovered(server, resource, _wanted(said, _scopes(metadata.get("scopes_supported")), server), label)


async def _challenge(server_url: str, reach: Reach) -> Challenge:
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    return Challenge.of(await reach.status_and_challenge(Outgoing(server_url, json.dumps(_HELLO).encode(), headers)))


async def _resource_metadata(
    server_url: str, reach: Reach, challenge: Challenge
) -> tuple[str, Mapping[str, Any] | None]:
    parts, origin = urlsplit(server_url), _origin(server_url)
    places = [challenge.metadata_url] if challenge.metadata_url and reach.places(challenge.metadata_url) else []
    places += [f"{origin}{_RESOURCE}{parts.path.rstrip('/')}", f"{origin}{_RESOURCE}"]
    for place in dict.fromkeys(places):
        found = await reach.get(place)
        if found is not None:
            return place, found
    return "", None


async def _server_metadata(
    issuer: str, reach: Reach, places: Sequence[str], *, is_legacy: bool = False
) -> AuthorizationServer | None:
    for place in places:
        found = await reach.get(place)
        if found is not None:
            stated = found.get("issuer")
            # Before 2025-06-18, the document stood at the server's origin, whatever the path of the issuer was.
            is_same = is_legacy and isinstance(stated, str) and _origin(stated) == issuer
            if not is_same and not _is_same_issuer(stated, issuer):
                raise IdentityRefusedError(reason="iss")
            return _read_server(found, reach)
    return None


def _read_server(found: Mapping[str, Any], reach: Reach) -> AuthorizationServer:
    challenges = found.get("code_challenge_methods_supported")
    if not isinstance(challenges, list) or "S256" not in challenges:
        raise unavailable("invalid_request")  # without PKCE, a client must not go on
    given = {name: found.get(f"{name}_endpoint") for name in ("authorization", "token", "registration", "revocation")}
    try:
        urls = {name: reach.endpoint(url, name) for name, url in given.items() if url is not None}
    except InvalidInputError:
        urls = {}
    if not {"authorization", "token"} <= set(urls):
        raise unavailable(UNREADABLE_ANSWER)
    methods = found.get("token_endpoint_auth_methods_supported")
    return AuthorizationServer(
        issuer=str(found["issuer"]),
        authorization_url=urls["authorization"],
        token_url=urls["token"],
        registration_url=urls.get("registration"),
        revocation_url=urls.get("revocation"),
        auth_methods=tuple(map(str, methods)) if isinstance(methods, list) else ("client_secret_basic",),
        scopes=_scopes(found.get("scopes_supported")),
        sends_iss=found.get("authorization_response_iss_parameter_supported") is True,
        takes_metadata_url=found.get("client_id_metadata_document_supported") is True,
    )


def _legacy(origin: str) -> AuthorizationServer:
    """Return the endpoints of a server without any metadata (MCP 2025-03-26)."""
    return AuthorizationServer(
        issuer=origin,
        authorization_url=f"{origin}/authorize",
        token_url=f"{origin}/token",
        registration_url=f"{origin}/register",
        auth_methods=("none", "client_secret_post", "client_secret_basic"),
    )


def _places_of(issuer: str) -> list[str]:
    origin, path = _origin(issuer), urlsplit(issuer).path.rstrip("/")
    places = [f"{origin}{_SERVER}{path}", f"{origin}{_OPENID}{path}", f"{origin}{path}{_OPENID}"]
    return list(dict.fromkeys(places))


def _wanted(
    challenge: Challenge, supported: tuple[str, ...] | None, server: AuthorizationServer | None
) -> tuple[str, ...] | None:
    """Return the scopes to ask for: those of the challenge, else those of the resource; with offline access."""
    wanted = challenge.scopes if challenge.scopes is not None else supported
    if wanted is None or server is None or "offline_access" not in (server.scopes or ()):
        return wanted
    return tuple(dict.fromkeys([*wanted, "offline_access"]))


def _is_of(resource: str, server_url: str, place: str) -> bool:
    """Return whether metadata are of the server, or of the folder above it that their URL says (RFC 9728 section 3.3).

    Args:
        resource: the resource that the metadata state; it must be canonical, but for the slash of an empty path.
        server_url: the canonical URI of the server.
        place: the URL of the metadata.
    """
    try:
        above, below = urlsplit(resource), urlsplit(server_url)
        is_canonical = canonical(resource) in (resource, resource.removesuffix("/"))
    except ValueError:
        return False
    if not is_canonical or "#" in resource or "@" in above.netloc:
        return False
    if canonical(resource) == server_url:
        return True
    is_above = f"{below.path.rstrip('/')}/".startswith(f"{above.path.rstrip('/')}/")
    is_here = place == f"{_origin(server_url)}{_RESOURCE}{'' if above.path == '/' else above.path}"
    return is_above and is_here and (above[:2], above.query) == (below[:2], "")


def _is_same_issuer(stated: object, issuer: str) -> bool:
    return isinstance(stated, str) and (stated == issuer or stated.rstrip("/") == issuer.rstrip("/") == _origin(issuer))


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _scopes(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    try:
        return tuple(as_scopes(value.split() if isinstance(value, str) else value))  # type: ignore[arg-type]
    except InvalidInputError:
        return None
