"""`Connector`: begins and finishes the connection of an account (RFC 6749 section 4.1, RFC 7636, RFC 9207)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import evolve

from vault_adapters.connect.accounts import granted_scopes, kept_variables
from vault_adapters.connect.addresses import redirect_uris
from vault_adapters.connect.arguments import challenged, divided, identifier_of, session_text
from vault_adapters.connect.authorization import authorization_url
from vault_adapters.connect.client import Client, as_clients, provider_unknown
from vault_adapters.connect.completing import identified, issuer_of, stored
from vault_adapters.connect.exchanging import exchanged
from vault_adapters.connect.handshake import Handshake, bound_to, decoded, new_seed
from vault_adapters.connect.lengthening import lengthened
from vault_adapters.connect.openid import Issuer, Issuers, is_named
from vault_adapters.connect.parameters import Callback, Query, is_signed, read_callback, refusal_in
from vault_adapters.connect.settling import about, settling
from vault_adapters.connect.several import Connected
from vault_adapters.connect.start import Start
from vault_adapters.connect.vaults import keeper_of
from vault_adapters.providers.http import opened
from vault_adapters.sync.vault import SyncVault
from vault_domain.entities.account import Account, AccountInfo
from vault_domain.entities.errors import (
    ConsentRequiredError,
    IdentityRefusedError,
    StateRefusedError,
)
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.text import Scopes, as_provider, as_scopes, as_tenant_id
from vault_domain.facade.vault import TokenVault

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

LIFETIME = timedelta(minutes=10)
"""The time that a user has between `Connector.begin` and `Connector.finish`."""


class Connector:
    """Connects accounts of a vault's tenants at providers.

    Any process with the same vault, providers and redirect URI can finish what another process has begun.

    Args:
        vault: a `TokenVault` or `SyncVault`; pass ``vault.with_actor(...)`` to name an actor in the audit log.
        providers: maps each provider's name in the vault to a refresher from `vault_adapters.providers.refresher`.
        redirect_uri: the address that providers send users back to; https, or http on loopback. Each provider needs an
            address of its own, so that one provider cannot pass for another: ``{provider}`` stands for the provider's
            name. Without it, ``/`` and the provider's name are appended if there are several providers.

    Raises:
        ConfigurationError: there is no provider, or a provider's refresher lacks facts that connecting needs; the
            message names them.
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """

    @scrubbed
    def __init__(self, vault: TokenVault | SyncVault, providers: Mapping[str, object], *, redirect_uri: str) -> None:
        self._keeper = keeper_of(vault)
        self._vault = vault
        self._clients = as_clients(providers)
        self._redirect_uris = redirect_uris(redirect_uri, self._clients)
        self._redirect_uri = redirect_uri
        self._issuers = Issuers()

    @property
    def redirect_uris(self) -> dict[str, str]:
        """The address that each provider sends users back to, by the provider's name; register it there."""
        return dict(self._redirect_uris)

    @property
    def providers(self) -> tuple[str, ...]:
        """The names of the providers, sorted."""
        return tuple(sorted(self._clients))

    def with_actor(self, actor: str) -> Connector:
        """Return a copy of this connector, with an actor for the audit log; see `TokenVault.with_actor`."""
        providers = {name: client.made_of for name, client in self._clients.items()}
        named = Connector(self._vault.with_actor(actor), providers, redirect_uri=self._redirect_uri)
        named._issuers = self._issuers  # both connectors share the issuers' documents
        return named

    @settling
    async def begin(
        self,
        tenant_id: str,
        provider: str,
        *,
        session: str,
        scopes: Scopes | None = None,
        account: Account | None = None,
        extra: Mapping[str, str] | None = None,
        challenge: ConsentRequiredError | None = None,
    ) -> Start:
        """Return the address to send the user to, and the state in this address.

        Args:
            tenant_id: the tenant that the account will belong to.
            provider: one of this connector's providers.
            session: a text that only this user's browser session has, such as the session's id; `finish` must be given
                the same text.
            scopes: the scopes to ask for; if None, the refresher's scopes. The profile's own scopes are added,
                because without them the provider gives no refresh token or does not identify the account.
            account: the account to connect again; `finish` then refuses any other. The values of the profile's
                variables are those stored with the account, unless ``extra`` gives others.
            extra: further parameters for the provider (``{"login_hint": "ann@example.com"}``), and the values of the
                profile's variables (``{"subdomain": "acme"}``). An account whose values differ from those that all
                accounts share has them in its identifier, because another instance may use the same identifiers.
            challenge: what an API or the provider asks the user for. Its account is connected again, unless ``account``
                is given; the scopes that it was granted before are asked for too.

        Raises:
            InvalidInputError: an argument is not valid; the message does not repeat it.
            AuthorizationRefusedError, ProviderConfigurationError: the provider refuses the pushed request (RFC 9126).
            ConnectError: it gives no usable answer to the pushed request (``provider_unavailable``).
            KeyUnavailableError, StorageError: the state cannot be sealed now.
            DecryptionError: the tenant's data key cannot be used.
        """
        owner = Account(as_tenant_id(tenant_id), as_provider(provider))
        client = self._client(owner.provider)
        with about(owner):
            client = await client.discovered()
        wanted = as_scopes(scopes) if scopes is not None else client.made_of.scopes
        parameters, variables = divided(client, extra)
        if challenge is not None:
            account, missing, more = challenged(challenge, account)
            wanted = (*wanted, *await granted_scopes(self._keeper, account), *missing)
            parameters = {**more, **parameters}
        asked = tuple(dict.fromkeys([*wanted, *client.profile.authorization.scopes]))
        again = None if account is None else identifier_of(account, owner)
        if account is not None:
            variables = {**await kept_variables(self._keeper, account, client), **variables}
        handshake = Handshake(owner.provider, new_seed(), again, asked, variables)
        sealed = await self._keeper.seal(
            owner, handshake.encoded(), bound_to=bound_to(session_text(session), self._redirect_uri), lifetime=LIFETIME
        )
        with about(owner):
            back = self._redirect_uris[client.name]
            return Start(await authorization_url(client, handshake, sealed, back, parameters), sealed)

    @settling
    async def finish(self, query: Query, *, session: str, provider: str | None = None) -> AccountInfo:
        """Exchange the code of a callback for tokens, and store them; return the account.

        If the answer holds tokens of further accounts, such as Slack's bot and user, these are stored too; see
        `finish_all`.
        """
        infos = await self.finish_all(query, session=session, provider=provider)
        return infos[0]

    @settling
    async def finish_all(self, query: Query, *, session: str, provider: str | None = None) -> tuple[AccountInfo, ...]:
        """Exchange the code of a callback for tokens, and store them; return the account, and further accounts.

        Further accounts are those of the profiles in `AnswerShape.also` that the answer holds tokens for, if this
        connector has refreshers of these profiles for the same client. A warning tells of tokens that are not stored.

        Args:
            query: the callback's query, best as the received string, because a mapping cannot show that a parameter
                came twice.
            session: the text that was given to `begin`.
            provider: the provider whose redirect URI was called. If it is None and there are several providers, only a
                callback with the parameter ``iss`` is accepted.

        Raises:
            InvalidInputError: an argument is not valid; the message does not repeat it.
            StateRefusedError: the callback does not belong to this session's request or came to another provider's
                redirect URI, comes too late, or comes again.
            AuthorizationRefusedError: the provider or the user refused; see its ``reason``.
            IdentityRefusedError: the answer does not prove whose account it is; see its ``reason``.
            OtherAccountError: the user chose another account than the one to connect again.
            ConnectError: the provider gave no usable answer (``provider_unavailable``), or something unexpected
                happened (``connect_broken``).
            ProviderConfigurationError: the provider rejects this client.
            KeyUnavailableError, StorageError: the state cannot be opened now, or the tokens cannot be stored now.
            DecryptionError: the tenant's data key cannot be used.
        """
        callback = read_callback(query)
        called = None if provider is None else self._client(as_provider(provider)).name
        if not callback.state:
            raise StateRefusedError(reason="unreadable")
        opened_state = await self._keeper.open(
            callback.state, bound_to=bound_to(session_text(session), self._redirect_uri)
        )
        handshake = decoded(opened_state.content)
        client = self._client(handshake.provider)
        with about(Account(opened_state.tenant_id, client.name)):
            client = await client.discovered()
            self._check_address(client, called, callback)
            _check_signature(client, callback)
            handshake = evolve(handshake, variables={**handshake.variables, **client.told(callback.others)})
            async with opened(client.made_of.client) as http:
                connected = await self._authorized(client, handshake, callback, http)
        return await stored(self._keeper, opened_state.tenant_id, connected, opened_state, handshake.reconnected)

    async def _authorized(
        self, client: Client, handshake: Handshake, callback: Callback, http: HttpClient
    ) -> list[Connected]:
        """Check a callback, exchange its code, and identify the accounts of the tokens."""
        issuer = await issuer_of(self._issuers, client, handshake, http)
        _check_issuer(client, handshake, issuer, callback)
        if callback.error or not callback.code:
            raise refusal_in(callback)
        given = await exchanged(client, handshake, callback.code, self._redirect_uris[client.name], http)
        given = await lengthened(client, handshake, given, http)
        return await identified(
            client,
            self._clients.values(),
            handshake,
            given,
            callback.others,
            http,
            issuers=self._issuers,
            issuer=issuer,
            nonce=handshake.nonce if client.profile.authorization.nonce else None,
        )

    def _check_address(self, client: Client, called: str | None, callback: Callback) -> None:
        """Refuse an answer that came to the address of another provider (RFC 9700 section 4.4.2).

        Raises:
            StateRefusedError: it came to another provider's redirect URI.
            IdentityRefusedError: neither the address nor ``iss`` shows which of several providers sent it.
        """
        if called not in (None, client.name):
            raise StateRefusedError(reason="unreadable")
        if called is None and callback.iss is None and len(self._clients) > 1:
            raise IdentityRefusedError(reason="iss")

    def _client(self, provider: str) -> Client:
        client = self._clients.get(provider)
        if client is None:
            raise provider_unknown(self.providers)
        return client


def _check_issuer(client: Client, handshake: Handshake, issuer: Issuer | None, callback: Callback) -> None:
    """Refuse a callback of another provider than the one that the user was sent to (RFC 9207 section 2.4).

    If the profile names no issuer, an ``iss`` must have the origin of the address that the user was sent to.

    Raises:
        IdentityRefusedError: ``iss`` is another issuer's, or is missing although the provider always sends it.
    """
    sends_iss = client.profile.authorization.iss or (issuer is not None and issuer.sends_iss)
    expected = client.url("issuer", handshake.variables)
    if callback.iss is None:
        accepted = not sends_iss
    elif issuer is not None:
        accepted = is_named(issuer, callback.iss)
    elif expected is not None:
        accepted = callback.iss == expected
    else:
        accepted = _origin(callback.iss) == _origin(client.url("authorization_url", handshake.variables) or "")
    if not accepted:
        raise IdentityRefusedError(reason="iss")


def _check_signature(client: Client, callback: Callback) -> None:
    """Refuse a callback that the provider did not sign, if it signs its callbacks.

    Raises:
        IdentityRefusedError: the HMAC is missing or wrong.
    """
    parameter, secret = client.profile.authorization.hmac, client.made_of.client_secret
    if parameter is not None and (secret is None or not is_signed(callback, parameter, secret)):
        raise IdentityRefusedError(reason="hmac")


def _origin(url: str) -> tuple[str, str] | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return parts.scheme, parts.netloc
