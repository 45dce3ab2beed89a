"""`McpConnector`: connects a tenant's account at an MCP server (the protocol's authorization, RFC 9728, RFC 8707)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import evolve
from authlib.common.urls import add_params_to_uri  # type: ignore[import-untyped]
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # type: ignore[import-untyped]
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]

from vault_adapters.connect.arguments import session_text
from vault_adapters.connect.exchanging import refused
from vault_adapters.connect.handshake import Handshake, bound_to, decoded, new_seed
from vault_adapters.connect.mcp import registration as registrations
from vault_adapters.connect.mcp.asking import Reach
from vault_adapters.connect.mcp.discovery import Challenge, Discovered, canonical, discover
from vault_adapters.connect.mcp.identity import IdentityProvider, asserted
from vault_adapters.connect.mcp.service import service_key
from vault_adapters.connect.parameters import Callback, Query, read_callback, refusal_in
from vault_adapters.connect.settling import about, settling
from vault_adapters.connect.start import Start
from vault_adapters.connect.vaults import keeper_of
from vault_adapters.providers.answers import read_answer
from vault_adapters.providers.client_auth import as_client_secret
from vault_adapters.providers.endpoint import as_client_id, as_endpoint
from vault_adapters.providers.http import opened
from vault_adapters.providers.mcp import PROVIDER, Registration, kept_with_token
from vault_adapters.providers.mcp_service import SERVICE
from vault_adapters.sync.vault import SyncVault
from vault_domain.entities.account import Account, AccountInfo, TokenKind
from vault_domain.entities.errors import (
    ConfigurationError,
    ConsentRequiredError,
    IdentityRefusedError,
    InvalidInputError,
    ProviderConfigurationError,
    StateRefusedError,
)
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.secret import Secret, as_secret
from vault_domain.entities.text import Scopes, as_scopes, as_tenant_id
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

_log = logging.getLogger(__name__)

_FLAGS = ("sends_iss", "is_own", "by_hand")

LIFETIME = timedelta(minutes=10)
"""The time that a user has between `McpConnector.begin` and `McpConnector.finish`."""


class McpConnector:
    """Connects accounts of a vault's tenants at MCP servers, whose URLs users may choose.

    It finds the server's authorization server, and the client to use there: one of ``clients``, the client's metadata
    document, or a client that it registers, one for each tenant and authorization server. The account is
    ``Account(tenant_id, "mcp", server_url)``; register `McpRefresher` under ``"mcp"`` with the vault.

    Requests go to public addresses by https only, follow no redirects, and read at most 256 KiB.

    Args:
        vault: a `TokenVault` or `SyncVault`.
        client_name: the name that the user reads when the authorization server asks for consent.
        redirect_uri: the address that authorization servers send users back to; https, or http on loopback. A server
            that does not announce ``iss`` (RFC 9207) gets an address of its own, with one further segment; route both.
        client_metadata_url: the https URL of the client's metadata document, for authorization servers that take it as
            a client id; None: there is none. With ``{issuer}``, each issuer gets a document and a redirect URI of its
            own (`client_metadata`); without, such a server must send ``iss``.
        private_addresses: whether servers may have private addresses, and be on loopback by http.
        clients: clients that were registered by hand, each a pair of id and secret (or None), by the URL of its
            authorization server (the issuer), or of the MCP server if both have the same origin.
        client: an HTTP client, which is never closed; None: a new one for each call.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """

    @scrubbed
    def __init__(
        self,
        vault: TokenVault | SyncVault,
        *,
        client_name: str,
        redirect_uri: str,
        client_metadata_url: str | None = None,
        private_addresses: bool = False,
        clients: Mapping[str, tuple[str, Secret | str | None]] | None = None,
        client: HttpClient | None = None,
    ) -> None:
        self._keeper = keeper_of(vault)
        self._name = registrations.as_client_name(client_name)
        self._redirect_uri = as_endpoint(redirect_uri, "redirect_uri")
        self._metadata_url = registrations.as_metadata_url(client_metadata_url)
        self._clients = registrations.by_hand(clients)
        self._private = private_addresses
        self._client = client

    def client_metadata(self, issuer: str) -> dict[str, Any]:
        """Return the client's metadata document for one issuer, to serve as JSON at ``client_metadata_url``.

        Args:
            issuer: what stands in the place of ``{issuer}`` in the URL that was asked for.

        Raises:
            InvalidInputError: ``issuer`` is no such text, or the URL has no ``{issuer}``.
        """
        if registrations.ISSUER not in (self._metadata_url or ""):
            raise InvalidInputError("client_metadata_url has no {issuer}")
        return registrations.document(self._metadata_url or "", self._redirect_uri, self._name, issuer)

    @settling
    async def begin(
        self,
        tenant_id: str,
        server_url: str,
        *,
        session: str,
        scopes: Scopes | None = None,
        account: Account | None = None,
        challenge: ConsentRequiredError | str | None = None,
    ) -> Start:
        """Return the address to send the user to, and the state in this address.

        Args:
            tenant_id: the tenant that the account will belong to.
            server_url: the MCP server; a user may have typed it.
            session: a text that only this user's browser session has; `finish` must be given the same text.
            scopes: the scopes to ask for; None: those that the server names.
            account: the account to connect again, or to get further scopes for: the scopes that it has are asked for
                too.
            challenge: the error that a `VaultAuth` has raised because the server wants further scopes, or the header
                ``WWW-Authenticate`` of the answer that refused a request; None: ask the server.

        Raises:
            InvalidInputError: an argument is not valid; the message does not repeat it.
            IdentityRefusedError: the server's documents are of another resource or issuer; see its ``reason``.
            ConnectError: the server, or its authorization server, gave no usable answer; see its ``reason``.
            ConfigurationError: there is no client for this authorization server, and it registers none.
            KeyUnavailableError, StorageError: nothing can be sealed or stored now.
        """
        owner = self._account(as_tenant_id(tenant_id), server_url)
        given = None if scopes is None else tuple(as_scopes(scopes))
        said = Challenge.of(challenge) if isinstance(challenge, str) else None
        if isinstance(challenge, ConsentRequiredError):
            said, account = Challenge(None, challenge.scopes), account or challenge.account
        elif not isinstance(challenge, str | None):
            raise InvalidInputError("challenge must be a ConsentRequiredError or a header")
        if account is not None and account != owner:
            raise InvalidInputError("account must be of this tenant and server")
        bound = bound_to(session_text(session), self._redirect_uri)
        with about(owner):
            async with self._reach() as reach:
                found = await discover(owner.identifier or "", reach, said)
                stored = await self._keeper.account(owner)
                had = None if account is None else stored
                wanted = _union(() if had is None else had.scopes, found.scopes if given is None else given)
                forgotten = await registrations.forgotten(self._keeper, stored)
                client = await self._registration(owner, found, reach, wanted, forgotten)
        variables = {"server": owner.identifier or "", "resource": found.resource or "", **_sealed(client)}
        variables |= {"label": found.name} if found.name else {}
        handshake = Handshake(PROVIDER, new_seed(), None, wanted or (), variables)
        sealed = await self._keeper.seal(owner, handshake.encoded(), bound_to=bound, lifetime=LIFETIME)
        return Start(self._authorization_url(client, handshake, sealed), sealed)

    @settling
    async def finish(self, query: Query, *, session: str, redirect_uri: str | None = None) -> AccountInfo:
        """Exchange the code of a callback for tokens, and store them; return the account.

        Args:
            query: the callback's query, best as the received string.
            session: the text that was given to `begin`.
            redirect_uri: the URL, or its path, that the user came back to. Its last segment shows which authorization
                server sent the answer, where this server sends no ``iss``. None: ``iss`` alone can show it.

        Raises:
            InvalidInputError, StateRefusedError, AuthorizationRefusedError, IdentityRefusedError, ConnectError,
            ProviderConfigurationError, KeyUnavailableError, StorageError: see `Connector.finish`.
        """
        callback = read_callback(query)
        if redirect_uri is not None and not isinstance(redirect_uri, str):
            raise InvalidInputError("redirect_uri must be a text")
        if not callback.state:
            raise StateRefusedError(reason="unreadable")
        state = await self._keeper.open(callback.state, bound_to=bound_to(session_text(session), self._redirect_uri))
        handshake = decoded(state.content)
        account = self._account(state.tenant_id, handshake.variables["server"])
        with about(account):
            client = _opened(handshake)
            _check_issuer(client, callback, redirect_uri)
            if callback.error or not callback.code:
                raise refusal_in(callback)
            token_set = await self._exchanged(client, handshake, callback.code, state.tenant_id)
        extra = kept_with_token(client, handshake.variables["resource"] or None)
        token_set = evolve(token_set, scopes=token_set.scopes or handshake.scopes, extra=extra)
        return await self._keeper.store(account, token_set, handshake.variables.get("label"), state)

    @settling
    async def connect_service(
        self,
        tenant_id: str,
        server_url: str,
        *,
        client_id: str,
        client_secret: Secret | str | None = None,
        private_key: Secret | str | None = None,
        scopes: Scopes | None = None,
    ) -> Account:
        """Store the credentials of a service at a server, which needs no user; return the account.

        The vault then gets tokens with them (``client_credentials``), if it has `McpServiceRefresher` as
        ``"mcp_service"``.

        Args:
            tenant_id: the tenant that the account will belong to.
            server_url: the MCP server.
            client_id: the service's client id at the authorization server.
            client_secret: its secret; or else
            private_key: its private key in PEM, for ``private_key_jwt``.
            scopes: the scopes to ask for; None: those that the server names.

        Raises:
            InvalidInputError, IdentityRefusedError, ConnectError, KeyUnavailableError, StorageError: see `begin`.
        """
        account = evolve(self._account(as_tenant_id(tenant_id), server_url), provider=SERVICE)
        secret, key = as_client_secret(client_secret), as_client_secret(private_key)
        given, name = None if scopes is None else tuple(as_scopes(scopes)), as_client_id(client_id)
        with about(account):
            async with self._reach() as reach:
                found = await discover(account.identifier or "", reach)
            value = service_key(found, name, secret, key, found.scopes if given is None else given)
            await self._keeper.keep(account.key(TokenKind.API_KEY), value)
        return account

    @settling
    async def connect_by_identity(
        self,
        tenant_id: str,
        server_url: str,
        *,
        id_token: Secret | str,
        provider: IdentityProvider,
        scopes: Scopes | None = None,
    ) -> AccountInfo:
        """Connect an account by an ID token of the company's identity provider (cross-app access); return it.

        Args:
            tenant_id: the tenant that the account will belong to.
            server_url: the MCP server; its client must be one of ``clients``.
            id_token: the user's ID token, which the identity provider has issued to its client.
            provider: the identity provider, which exchanges the ID token for an assertion.
            scopes: the scopes to ask for; None: those that the server names.

        Raises:
            InvalidInputError, AuthorizationRefusedError, IdentityRefusedError, ConnectError,
            ProviderConfigurationError, KeyUnavailableError, StorageError: see `finish`.
        """
        account, proof = self._account(as_tenant_id(tenant_id), server_url), as_secret(id_token)
        given = None if scopes is None else tuple(as_scopes(scopes))
        if not isinstance(provider, IdentityProvider):
            raise InvalidInputError("provider must be an IdentityProvider")
        with about(account):
            async with self._reach() as reach:
                found = await discover(account.identifier or "", reach)
                wanted = found.scopes if given is None else given
                client = await self._registration(account, found, reach, wanted)
                token_set = await asserted(provider, proof, client, found, wanted, reach)
            extra = kept_with_token(client, found.resource)
            token_set = evolve(token_set, scopes=token_set.scopes or wanted or (), extra=extra)
            return await self._keeper.store(account, token_set, found.name, None)

    def _account(self, tenant_id: str, server_url: str) -> Account:
        url = Reach(None, self._private).endpoint(server_url, "server_url")
        return Account(tenant_id, PROVIDER, canonical(url))

    @asynccontextmanager
    async def _reach(self) -> AsyncIterator[Reach]:
        async with opened(self._client) as client:
            yield Reach(client, self._private)

    async def _registration(
        self,
        owner: Account,
        found: Discovered,
        reach: Reach,
        scopes: tuple[str, ...] | None,
        forgotten: str | None = None,
    ) -> Registration:
        """Return the client to use: one that was registered by hand, a metadata document, or a registered one."""
        server = found.server
        if (given := self._by_hand(owner.identifier or "", server.issuer)) is not None:
            client_id, secret = given
            methods = ("client_secret_basic", "client_secret_post") if secret is not None else ("none",)
            method = next((each for each in methods if each in server.auth_methods), methods[0])
            client = registrations.at(server, client_id, secret, method)  # type: ignore[arg-type]
            return evolve(client, redirect_uri=self._redirect_uri, by_hand=True)
        if self._metadata_url is not None and server.takes_metadata_url:
            if registrations.ISSUER in self._metadata_url:
                url = registrations.own_document(self._metadata_url, server.issuer)
                address = registrations.own_address(self._redirect_uri, server.issuer)
                client = registrations.at(server, url, None, "none")
                return evolve(client, redirect_uri=address, is_own=True)
            if server.sends_iss or server.registration_url is None:
                client = registrations.at(server, self._metadata_url, None, "none")
                return evolve(client, redirect_uri=self._redirect_uri)
        names = {"client_name": self._name, "redirect_uri": self._redirect_uri}
        return await registrations.kept_or_registered(
            self._keeper, owner.tenant_id, server, reach, **names, scopes=scopes, forgotten=forgotten
        )

    def _by_hand(self, server_url: str, issuer: str) -> tuple[str, Secret | None] | None:
        """Return the client that the host has registered with this issuer, or None.

        The host may name the server instead. Its issuer must then have the server's origin, because a server does not
        decide alone who gets the client's secret.

        Raises:
            ConfigurationError: the host has named the server, whose issuer is elsewhere.
        """
        place = canonical(issuer)
        if place not in self._clients and server_url in self._clients:
            if urlsplit(place)[:2] != urlsplit(server_url)[:2]:
                raise ConfigurationError(
                    "clients must name the issuer, because it is not at the server's own host", code="client_unknown"
                )
            place = server_url
        return self._clients.get(place)

    def _authorization_url(self, client: Registration, handshake: Handshake, state: str) -> str:
        parameters = {
            "code_challenge": create_s256_code_challenge(handshake.verifier),
            "code_challenge_method": "S256",
        }
        if handshake.variables["resource"]:
            parameters["resource"] = handshake.variables["resource"]
        if handshake.scopes:
            parameters["scope"] = " ".join(handshake.scopes)
        if "offline_access" in handshake.scopes:
            parameters["prompt"] = "consent"  # OpenID Connect Core section 11
        url = prepare_grant_uri(
            client.authorization_url, client.client_id, "code", redirect_uri=client.redirect_uri, state=state
        )
        return str(add_params_to_uri(url, list(parameters.items())))

    async def _exchanged(self, client: Registration, handshake: Handshake, code: str, tenant_id: str) -> TokenSet:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": client.redirect_uri,
            "code_verifier": handshake.verifier,
        }
        if handshake.variables["resource"]:
            form["resource"] = handshake.variables["resource"]
        async with self._reach() as reach:
            result = read_answer(await reach.send(client.request(client.token_url, form)))
        if isinstance(result, TokenSet):
            return result
        if isinstance(result, ProviderConfigurationError) and result.reason in registrations.FORGOTTEN:
            await registrations.forget(self._keeper, tenant_id, client)
        raise refused(result)


def _sealed(client: Registration) -> dict[str, str]:
    """Return a client as texts for the state, because the tenant may have another one when the user comes back."""
    flags = {name: "1" for name in _FLAGS if getattr(client, name)}
    return {**client.members, "redirect_uri": client.redirect_uri, **flags}


def _opened(handshake: Handshake) -> Registration:
    """Return the client that `begin` used.

    Raises:
        StateRefusedError: the state is of an earlier release.
    """
    variables = handshake.variables
    if "client_id" not in variables:
        raise StateRefusedError(reason="unreadable")
    flags: dict[str, Any] = {name: name in variables for name in _FLAGS}
    return evolve(Registration.of(variables), redirect_uri=variables["redirect_uri"], **flags)


def _check_issuer(client: Registration, callback: Callback, called: str | None) -> None:
    """Refuse a callback that another authorization server sent, or may have sent (RFC 9207, RFC 9700 section 4.4).

    Where the server sends no ``iss``, the address that the user came back to must be the issuer's own. A client that
    the host has registered by hand has one address for all issuers; the host trusts them.

    Raises:
        IdentityRefusedError: ``iss`` or the address is another issuer's, or both are missing.
    """
    if callback.iss is not None or client.sends_iss:
        if callback.iss != client.issuer:
            raise IdentityRefusedError(reason="iss")
    elif not client.is_own and not client.by_hand:
        raise IdentityRefusedError(
            "the authorization server sends no iss, and all issuers share the client's metadata document, so nothing"
            " shows who sent the answer: put {issuer} into client_metadata_url",
            reason="iss",
        )
    elif client.is_own and called is None:
        raise IdentityRefusedError(
            "the authorization server sends no iss: pass redirect_uri, the address that was called", reason="iss"
        )
    if called is not None and _last_segment(called) != _last_segment(client.redirect_uri):
        raise IdentityRefusedError(reason="iss")


def _last_segment(url: str) -> str:
    """Return the last segment of a URL's path; a proxy may have removed what stands before it."""
    return url.partition("?")[0].rstrip("/").rpartition("/")[2]


def _union(had: tuple[str, ...], wanted: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if wanted is None and not had:
        return None
    return tuple(dict.fromkeys([*had, *(wanted or ())]))
