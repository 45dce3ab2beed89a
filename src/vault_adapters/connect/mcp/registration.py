"""The OAuth client under which a tenant's accounts are connected at one authorization server."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve, frozen

from vault_adapters.connect.asking import unavailable
from vault_adapters.connect.mcp.asking import Reach, small_object
from vault_adapters.connect.mcp.discovery import AuthorizationServer, canonical
from vault_adapters.connect.vaults import Keeper
from vault_adapters.providers.client_auth import AuthMethod, as_auth_method, as_client_secret
from vault_adapters.providers.endpoint import as_client_id, as_endpoint
from vault_adapters.providers.mcp import Registration, registration_of
from vault_domain.entities.account import Account, AccountInfo, TokenKey, TokenKind
from vault_domain.entities.causes import UNREADABLE_ANSWER
from vault_domain.entities.errors import ConfigurationError, ConnectError, GenerationConflictError, InvalidInputError
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import MCP_CLIENTS, as_label
from vault_domain.entities.token import Token

FORGOTTEN = frozenset({"invalid_client", "unauthorized_client"})
"""The codes by which an authorization server says that it does not know the client."""

_USABLE: tuple[AuthMethod, ...] = ("client_secret_basic", "client_secret_post", "none")
ISSUER = "{issuer}"
"""What stands for the issuer in the URL of a metadata document of which each issuer has its own."""

_TAG = re.compile(r"[0-9a-f]{32}\Z")
_LAST = 253_402_300_000  # the year 9999, as a Unix time


def as_client_name(value: object) -> str:
    """Check the name that users read, and return it."""
    name = as_label(value, "client_name")
    if name is None:
        raise InvalidInputError("client_name must be a string")
    return name


def as_metadata_url(value: object) -> str | None:
    """Check the URL of a client's metadata document, and return it; None if there is none."""
    if value is None:
        return None
    url = as_endpoint(value, "client_metadata_url")
    if ISSUER in urlsplit(url).netloc:
        raise InvalidInputError("client_metadata_url must name the issuer in its path or query")
    if not urlsplit(url).path.strip("/"):
        raise InvalidInputError("client_metadata_url must have a path")
    return url


def own_address(redirect_uri: str, issuer: str) -> str:
    """Return the redirect URI of one issuer's own: a further segment names it (RFC 9700 section 4.4.2.2)."""
    parts = urlsplit(redirect_uri)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{_tag(issuer)}").geturl()


def own_document(metadata_url: str, issuer: str) -> str:
    """Return the URL of the client's metadata document for one issuer; see `ISSUER`."""
    return metadata_url.replace(ISSUER, _tag(issuer))


def document(metadata_url: str, redirect_uri: str, client_name: str, tag: str) -> dict[str, Any]:
    """Return the client's metadata document for the issuer of a tag.

    Raises:
        InvalidInputError: the text is no tag.
    """
    if not isinstance(tag, str) or not _TAG.match(tag):
        raise InvalidInputError("issuer must be the part of the address that stands for the issuer")
    parts = urlsplit(redirect_uri)
    return {
        "client_id": metadata_url.replace(ISSUER, tag),
        "redirect_uris": [parts._replace(path=f"{parts.path.rstrip('/')}/{tag}").geturl()],
        **_stated(client_name, redirect_uri, "none"),
    }


def by_hand(clients: object) -> dict[str, tuple[str, Secret | None]]:
    """Check clients that were registered by hand, and return them by the canonical form of their places."""
    given = {} if clients is None else clients
    if not isinstance(given, Mapping) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in given.values()):
        raise InvalidInputError("clients must have a pair of id and secret for each URL")
    return {canonical(str(place)): (as_client_id(name), as_client_secret(key)) for place, (name, key) in given.items()}


def at(server: AuthorizationServer, client_id: str, secret: Secret | None, method: AuthMethod) -> Registration:
    """Return a client of an authorization server."""
    urls = server.issuer, server.authorization_url, server.token_url, server.revocation_url
    return Registration(client_id, secret, method, *urls, server.sends_iss)


@frozen
class Kept:
    """What a tenant keeps of an issuer.

    Attributes:
        client: the registration; None if there is none that can be used.
        generation: the number of the stored value; 0: nothing is stored.
        redirect_uri, scopes: what the client was registered for.
    """

    client: Registration | None = None
    generation: int = 0
    redirect_uri: str = ""
    scopes: tuple[str, ...] = ()

    @classmethod
    def of(cls, token: Token | None) -> Kept:
        """Read the stored value."""
        if token is None:
            return cls()
        generation = token.info.generation
        end = token.info.expires_at  # registrations of earlier versions have the token's expiry
        try:
            members = token.value.reveal_fields()
            client = Registration.of(members)
            end = datetime.fromisoformat(members["expires_at"]) if "expires_at" in members else end
        except (InvalidInputError, KeyError, ValueError):
            return cls(generation=generation)
        if end is not None and end <= datetime.now(UTC):
            return cls(generation=generation)
        return cls(client, generation, members.get("redirect_uri", ""), tuple(members.get("scope", "").split()))


async def kept(keeper: Keeper, tenant_id: str, issuer: str) -> Kept:
    """Return what a tenant keeps of an issuer."""
    return Kept.of(await keeper.token(_key(tenant_id, issuer)))


async def keep(
    keeper: Keeper, tenant_id: str, registration: Registration, *, over: int | None = None, **more: str
) -> None:
    """Store a tenant's registration, sealed like a token.

    Its end is not the token's expiry: an account whose API key has expired is shown as one that its user must connect
    again.

    Args:
        keeper: the tenant's vault.
        tenant_id: the tenant.
        registration: the client.
        over: store only over this generation; None: over any.
        more: further texts to store with it.

    Raises:
        GenerationConflictError: another generation is stored.
    """
    fields = registration.members | ({"sends_iss": "1"} if registration.sends_iss else {}) | more
    fields |= {} if registration.expires_at is None else {"expires_at": registration.expires_at.isoformat()}
    value = Secret.from_fields(**{name: text for name, text in fields.items() if text})
    await keeper.keep(_key(tenant_id, registration.issuer), value, over=over)


async def kept_or_registered(
    keeper: Keeper,
    tenant_id: str,
    server: AuthorizationServer,
    reach: Reach,
    *,
    client_name: str,
    redirect_uri: str,
    scopes: tuple[str, ...] | None,
    forgotten: str | None,
) -> Registration:
    """Return the tenant's client at a server; register one if none fits.

    Where the server does not announce ``iss``, the redirect URI is of its own, so that it shows who sent an answer.
    A client fits only the redirect URI and the scopes that it was registered for: many servers refuse any other. Of
    several processes that register at the same time, one stores its client, and all use this one; a code of another
    client could not be exchanged.

    Args:
        keeper, tenant_id: where the client is kept.
        server, reach: the authorization server, and what sends the requests.
        client_name, redirect_uri: what to register.
        scopes: the scopes that will be asked for; None: none.
        forgotten: the id of a client that the server does not know any more, or None.

    Raises:
        ConfigurationError, ConnectError: see `register`.
    """
    is_own = not server.sends_iss
    redirect_uri = own_address(redirect_uri, server.issuer) if is_own else redirect_uri
    at_address = partial(evolve, redirect_uri=redirect_uri, is_own=is_own, sends_iss=server.sends_iss)
    known = await kept(keeper, tenant_id, server.issuer)
    client, wanted = known.client, scopes or ()
    asked = wanted
    if client is not None and client.client_id != forgotten and client.token_url == server.token_url:
        if known.redirect_uri == redirect_uri and set(wanted) <= set(known.scopes):
            return at_address(client)
        asked = tuple(dict.fromkeys([*wanted, *known.scopes]))
    register_for = partial(register, server, reach, client_name=client_name, redirect_uri=redirect_uri)
    try:
        fresh = await register_for(scopes=asked)
    except ConnectError as error:
        if asked == wanted or error.reason != UNREADABLE_ANSWER:
            raise
        fresh, asked = await register_for(scopes=wanted), wanted  # a scope of earlier may not exist any more
    more = {"redirect_uri": redirect_uri, "scope": " ".join(asked)}
    try:
        await keep(keeper, tenant_id, fresh, over=known.generation, **more)
    except GenerationConflictError:
        other = await kept(keeper, tenant_id, server.issuer)
        if other.client is not None and other.redirect_uri == redirect_uri:
            return at_address(other.client)
    return at_address(fresh)


async def forgotten(keeper: Keeper, account: AccountInfo | None) -> str | None:
    """Return the id of the account's client if its authorization server does not know it any more."""
    if account is None or account.reason not in FORGOTTEN:
        return None
    token = await keeper.token(account.account.key(TokenKind.ACCESS_TOKEN))
    client = None if token is None else registration_of(token.extra)
    return None if client is None else client.client_id


async def forget(keeper: Keeper, tenant_id: str, client: Registration) -> None:
    """Delete a tenant's registration, unless it is another one, because the server does not know it any more."""
    known = await kept(keeper, tenant_id, client.issuer)
    if known.client is not None and known.client.client_id == client.client_id:
        await keeper.forget(_key(tenant_id, client.issuer))


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
    wanted = {"redirect_uris": [redirect_uri], **_stated(client_name, redirect_uri, method)}
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


def _stated(client_name: str, redirect_uri: str, method: AuthMethod) -> dict[str, Any]:
    return {
        "client_name": client_name,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "application_type": "web" if redirect_uri.startswith("https:") else "native",
    }


def _tag(issuer: str) -> str:
    return hashlib.sha256(issuer.encode(errors="replace")).hexdigest()[:32]


def _key(tenant_id: str, issuer: str) -> TokenKey:
    return Account(tenant_id, MCP_CLIENTS, issuer).key(TokenKind.API_KEY)
