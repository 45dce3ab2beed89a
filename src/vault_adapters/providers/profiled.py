"""Refreshers made from profiles, and `refresher`, which makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from attrs import evolve, field, frozen

from vault_adapters.providers.account_variables import (
    AccountVariables,
    Values,
    hosts_for,
    limited,
    prepared,
    refusal_for,
    token_url_for,
)
from vault_adapters.providers.assertions import Proof
from vault_adapters.providers.client_auth import BY_CERTIFICATE, AuthMethod, as_auth_method, as_secret_method
from vault_adapters.providers.dpop import UNBOUND, Prove, is_bound, proved
from vault_adapters.providers.http import Incoming, Outgoing, exchange
from vault_adapters.providers.key_refresher import KeyRefresher
from vault_adapters.providers.oauth2 import OAuth2Refresher, later
from vault_adapters.providers.oauth_errors import CONDEMNS_KEY
from vault_adapters.providers.profiles import Profile, as_profile
from vault_adapters.providers.profiles.templates import Allows
from vault_adapters.providers.shaped_answers import read_shaped
from vault_adapters.providers.shaped_requests import asked, keyed, members_of, signed
from vault_adapters.providers.signing_key import SigningKey
from vault_adapters.providers.static_keys import StaticKeys
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.api_header import ApiHeader
from vault_domain.entities.causes import TOKEN_NOT_BOUND
from vault_domain.entities.errors import (
    ConfigurationError,
    InvalidInputError,
    ProviderConfigurationError,
    RefreshFailedError,
    VaultError,
)
from vault_domain.entities.extra import as_extra
from vault_domain.entities.request_limit import RequestLimit
from vault_domain.entities.scrub import scrubbed, scrubbed_class
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import Scopes, as_scopes
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

_UNTIL_BOUND = timedelta(minutes=15)
"""Time until a refresh is tried again at a provider that has stopped binding tokens; each try costs a refresh token."""


def _check_private(_: object, __: object, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidInputError("private_addresses must be True or False")


@scrubbed_class
@frozen(eq=False, kw_only=True)
class ProfileRefresher(OAuth2Refresher):
    """Refreshes grants of a client as the provider's profile says; made by `refresher`.

    ``token_url`` and ``revocation_url`` may hold variables in braces.

    Attributes:
        profile: the provider's profile.
        fixed: values of the profile's variables; all accounts share these values.
        finder: the host's callable that returns an account's values of the profile's variables; None: there is none.
        dpop: whether a `Connector` makes a key for each account, to which the provider must bind its tokens.
        private_addresses: whether a host that an account chose may have a private address.
    """

    profile: Profile = field(repr=lambda profile: repr(profile.name))
    fixed: Mapping[str, str] = field(factory=dict, repr=False)
    finder: AccountVariables | None = field(default=None, repr=False)
    dpop: bool = False
    private_addresses: bool = field(default=False, validator=_check_private)

    @property
    def spends(self) -> TokenKind:
        """The kind of credential, which is a refresh token, or an access token that the provider exchanges."""
        exchanges = self.profile.request.grant == "access_token"
        return TokenKind.ACCESS_TOKEN if exchanges else TokenKind.REFRESH_TOKEN

    @property
    def concurrency(self) -> int | None:
        """The largest number of requests that one process has open at the provider, or None."""
        return self.profile.limits.concurrency

    @property
    def api_header(self) -> ApiHeader:
        """The header in which API requests carry the access token."""
        return self.profile.api.value

    async def hosts_of(self, account: Account, extra: Mapping[str, str]) -> tuple[str, ...]:
        """Return the hosts to which an account's access tokens may be sent; see `HostNamer`."""
        return await hosts_for(self.profile, account, extra, self.fixed, self.finder)

    async def refusal_of(self, account: Account, extra: Mapping[str, str]) -> str | None:
        """Return why an account must not have extra members; see `ExtraJudge`."""
        return await refusal_for(self.profile, account, extra, self.finder)

    async def token_url_of(self, account: Account, extra: Mapping[str, str]) -> str | None:
        """Return an account's token endpoint if it depends on the account; see `EndpointNamer`."""
        return await token_url_for(self.profile, self.token_url, account, extra, self.fixed, self.finder)

    async def revoke(self, request: RefreshRequest) -> bool | None:
        """Revoke a refresh token or an access token; see `TokenRevoker`."""
        if self.revocation_url is None:
            return None
        ready = await prepared(self.profile, request, self.fixed, self.finder)
        if isinstance(ready, VaultError):
            return False
        request, values = ready
        facts = self.profile.revocation
        members = {facts.token: request.credential.reveal()}
        if facts.hint:
            members["token_type_hint"] = request.kind.value
        answer = await self._send(self.revocation_url, members, request, values, shaped=False)
        return isinstance(answer, Incoming) and 200 <= answer.status < 300

    async def _refresh(self, request: RefreshRequest) -> TokenSet | VaultError:
        clock = asyncio.get_running_loop().time
        began = clock()
        result = await self._ask(request)
        if not request.scopes or self.profile.request.scopes != "stored" or not _is_invalid_scope(result):
            return result
        # The provider has refused the scopes and not the credential. Without scopes it gives those of the grant.
        again = later(request, timedelta(seconds=clock() - began))
        return result if isinstance(again, VaultError) else await self._ask(evolve(again, scopes=()))

    async def _ask(self, request: RefreshRequest) -> TokenSet | VaultError:
        ready = await prepared(self.profile, request, self.fixed, self.finder)
        if isinstance(ready, VaultError):
            return ready
        request, values = ready
        key, url = as_extra(request.extra).proof_key, self.profile.request.url or self.token_url

        async def send(prove: Prove, spent: timedelta) -> Incoming | VaultError:
            again = later(request, spent)
            if isinstance(again, VaultError):
                return again
            return await self._send(url, None, again, values, prove, shaped=True)

        answer = await proved(key, send)
        result = self._judged(answer, request) if isinstance(answer, Incoming) else answer
        return result if key is None or not self.dpop else _bound(result)

    def _read(self, answer: Incoming) -> TokenSet | VaultError:
        return read_shaped(answer, self.profile)

    async def _send(
        self,
        template: str,
        members: dict[str, str] | None,
        request: RefreshRequest,
        values: Values,
        prove: Prove | None = None,
        *,
        shaped: bool,
    ) -> Incoming | VaultError:
        proof = await self._proof_at(values, request)
        if isinstance(proof, VaultError):
            return proof
        outgoing = self._outgoing(template, members, request, values, proof.members, shaped=shaped)
        if members is not None:
            members.clear()  # a cancellation's traceback keeps this frame, so it must not hold the credential
        if isinstance(outgoing, VaultError):
            return outgoing
        outgoing = evolve(outgoing, public=not self.private_addresses and values.choose_host(template))
        outgoing = outgoing if prove is None else prove(outgoing)
        return await exchange(self.client, outgoing, proof.deadline, proof.send_deadline)

    async def _proof_at(self, values: Values, request: RefreshRequest) -> Proof | VaultError:
        try:
            return await self._proof(request, self.profile.filled(self.token_url, values.texts))
        except InvalidInputError as error:
            return ProviderConfigurationError(str(error), refused=False)

    def _outgoing(
        self,
        template: str,
        members: Mapping[str, str] | None,
        request: RefreshRequest,
        values: Values,
        proof: Mapping[str, str],
        *,
        shaped: bool,
    ) -> Outgoing | VaultError:
        try:
            url = self.profile.filled(template, values.texts)
            sent = (
                members_of(self.profile, request, self.scopes, self.extra, values.texts) if members is None else members
            )
        except InvalidInputError as error:
            return ProviderConfigurationError(str(error), refused=False)
        if shaped and self.profile.request.method == "get":
            return asked(self.profile, url, sent)
        return signed(
            self.profile if shaped else None,
            url,
            {**sent, **proof},
            is_json=self.profile.revocation.format == "json",
            client_id=self.client_id,
            client_secret=self.client_secret,
            auth_method=self.auth_method,
        )


@runtime_checkable
class Discovering(Protocol):
    """A refresher whose provider is asked for its facts when they are needed."""

    async def discovered(self) -> ProfileRefresher:
        """Return the refresher with the facts; see `vault_adapters.providers.discovery.OpenIdRefresher`."""


@scrubbed_class
@frozen(eq=False, kw_only=True)
class ProfileKeyRefresher(KeyRefresher):
    """Exchanges an account's own API key for an access token as the provider's profile says; made by `refresher`.

    Attributes:
        profile: the provider's profile.
        auth_method: how the client id and secret are sent, if the API key consists of these.
        scopes: the scopes to request.
        fixed: values of the profile's variables; all accounts share these values.
        finder: the host's callable that returns an account's values of the profile's variables; None: there is none.
        private_addresses: whether a host that an account chose may have a private address.
        client: an HTTP client, which the refresher never closes. None: the HTTP client of the vault; if there is no
            vault, a new HTTP client for each call.
    """

    profile: Profile = field(repr=lambda profile: repr(profile.name))
    auth_method: AuthMethod = field(default="client_secret_basic", converter=as_auth_method)
    scopes: tuple[str, ...] = field(default=None, converter=as_scopes)
    fixed: Mapping[str, str] = field(factory=dict, repr=False)
    finder: AccountVariables | None = field(default=None, repr=False)
    private_addresses: bool = field(default=False, validator=_check_private)
    client: HttpClient | None = field(default=None, repr=False)

    @property
    def request_limit(self) -> RequestLimit | None:
        """The limit that the provider sets on token requests, or None."""
        return self.profile.limits.request_limit

    @property
    def concurrency(self) -> int | None:
        """The largest number of requests that one process has open at the provider, or None."""
        return self.profile.limits.concurrency

    @property
    def api_header(self) -> ApiHeader:
        """The header in which API requests carry the access token."""
        return self.profile.api.value

    async def hosts_of(self, account: Account, extra: Mapping[str, str]) -> tuple[str, ...]:
        """Return the hosts to which an account's access tokens may be sent; see `HostNamer`."""
        return await hosts_for(self.profile, account, extra, self.fixed, self.finder)

    async def refusal_of(self, account: Account, extra: Mapping[str, str]) -> str | None:
        """Return why an account must not have extra members; see `ExtraJudge`."""
        return await refusal_for(self.profile, account, extra, self.finder)

    async def token_url_of(self, account: Account, extra: Mapping[str, str]) -> str | None:
        """Return an account's token endpoint if it depends on the account; see `EndpointNamer`."""
        return await token_url_for(self.profile, self.profile.token_url or "", account, extra, self.fixed, self.finder)

    async def _refresh(self, request: RefreshRequest) -> TokenSet | VaultError:
        ready = await prepared(self.profile, request, self.fixed, self.finder)
        if isinstance(ready, VaultError):
            return ready
        request, values = ready
        outgoing = self._outgoing(request, values)
        if isinstance(outgoing, VaultError):
            return outgoing
        is_chosen = values.choose_host(self.profile.token_url or "")
        outgoing = evolve(outgoing, public=is_chosen and not self.private_addresses)
        answer = await exchange(self.client, outgoing, request.deadline, request.send_deadline)
        return read_shaped(answer, self.profile, CONDEMNS_KEY) if isinstance(answer, Incoming) else answer

    def _outgoing(self, request: RefreshRequest, values: Values) -> Outgoing | VaultError:
        try:
            url = self.profile.filled(self.profile.token_url or "", values.texts)
            members = members_of(self.profile, request, self.scopes, {}, values.texts)
        except InvalidInputError as error:
            return ProviderConfigurationError(str(error), refused=False)
        return keyed(self.profile, url, members, request.credential, self.auth_method)


@scrubbed
def refresher(
    name_or_profile: str | PathLike[str] | Profile,
    client_id: str | None = None,
    client_secret: Secret | str | None = None,
    *,
    scopes: Scopes | None = None,
    auth_method: AuthMethod | None = None,
    signing_key: SigningKey | None = None,
    audience: str | None = None,
    account_variables: AccountVariables | None = None,
    dpop: bool | None = None,
    client: HttpClient | None = None,
    private_addresses: bool = False,
    **variables: str | Allows | Sequence[str | Allows],
) -> ProfileRefresher | ProfileKeyRefresher | StaticKeys:
    """Return a refresher for a provider that has a profile; `profiles` lists the package's profiles.

    The refresher takes the facts, such as the rotation policy and the lifetimes, from the profile. If the provider's
    API keys do not expire, the result refreshes nothing, and tells where the keys may be sent.

    Args:
        name_or_profile: the name of one of the package's profiles, a `Profile` (see `load_profile`), or the path of a
            profile's file as a `pathlib.Path`. A text is always a name.
        client_id: the client id registered with the provider; None if each account stores an API key of its own.
        client_secret: text or `Secret`; None if the client is public, if there is a ``signing_key``, or if
            ``client_id`` is None.
        scopes: the scopes that a `Connector` asks users for, or that an API key requests. A refresh of a user's grant
            does not send them, so that it never asks for more than the user has granted.
        auth_method: how the client authenticates. None: ``private_key_jwt`` if there is a ``signing_key``, else the
            first of the profile's methods that fits. ``none`` fits a public client, and a method that uses a secret
            fits any other client. The methods by certificate (RFC 8705) must be named, and need ``client``.
        signing_key: the client's key for ``private_key_jwt``, instead of a secret.
        audience: the ``aud`` of the client's JWT; None: the token endpoint's URL.
        account_variables: returns the values of variables for an `Account`; it may be a coroutine function. Its values
            override the account's extra members, and these override ``variables``.
        dpop: whether tokens must be bound to a key of the account's own (DPoP, RFC 9449), which is made when the
            account is connected. An access token that the provider does not bind is refused. Accounts that were
            connected without a key go on without one. None: as the profile says.
        client: an HTTP client, which the refresher never closes. None: the HTTP client of the vault; if there is no
            vault, a new HTTP client for each call.
        private_addresses: whether a host's name that an account chose, such as Zendesk's subdomain, may lead to a
            private address. True is needed if ``client`` goes through a proxy that has a private address.
        variables: the values of the profile's variables that all accounts share, such as ``subdomain="acme"``. Of a
            variable that decides a domain, such as GitLab's ``instance``, an account may give no other value. It takes
            a list too: the first value is shared, and an account may give any of them. Alone or in a list, it takes a
            plain function of a value that returns True if an account may give it.

    Raises:
        ConfigurationError: there is no such profile, the profile's file has a mistake, the profile has no such
            variable, or the provider's clients need a ``signing_key``.
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """
    profile, fixed = limited(as_profile(name_or_profile), variables)
    own_keys = profile.request.grant in ("client_credentials", "api_key", "none")
    if own_keys and (client_id is not None or client_secret is not None):
        raise InvalidInputError("each account stores an API key of its own; pass neither client_id nor client_secret")
    if own_keys and signing_key is not None:
        raise InvalidInputError("each account stores an API key of its own; pass no signing_key")
    if dpop is not None and (not isinstance(dpop, bool) or own_keys):
        raise InvalidInputError("dpop must be True or False, and only a client whose users connect accounts can use it")
    if profile.token_url is None:
        return StaticKeys(profile, fixed, account_variables)
    is_public = client_secret is None and not own_keys
    by_key: AuthMethod | None = None if signing_key is None else "private_key_jwt"
    method = auth_method or by_key or _method(profile, is_public=is_public)
    if own_keys:
        if profile.request.grant == "client_credentials":
            as_secret_method(method)
        return ProfileKeyRefresher(
            profile=profile,
            auth_method=method,
            scopes=scopes,
            fixed=fixed,
            finder=account_variables,
            private_addresses=private_addresses,
            client=client,
        )
    return with_client(
        profile,
        client_id or "",  # `ProfileRefresher` refuses an empty client id
        client_secret,
        auth_method=method,
        signing_key=signing_key,
        audience=audience,
        scopes=scopes,
        fixed=fixed,
        finder=account_variables,
        private_addresses=private_addresses,
        client=client,
        **({} if dpop is None else {"dpop": dpop}),
    )


def with_client(profile: Profile, client_id: Any, client_secret: Any, **options: Any) -> ProfileRefresher:
    """Return a refresher for a client's grants; options are fields of `ProfileRefresher` and override the profile."""
    facts = {
        "token_url": profile.token_url,
        "rotation": profile.rotation.policy,
        "revocation_url": profile.revocation_url,
        "revocation_scope": profile.revocation.scope,
        "default_lifetime": profile.answer.default_lifetime,
        "idle_lifetime": profile.rotation.idle,
        "old_token_dies": profile.rotation.old_token_dies,
        "request_limit": profile.limits.request_limit,
        "dpop": profile.authorization.dpop,
    }
    return ProfileRefresher(profile=profile, client_id=client_id, client_secret=client_secret, **{**facts, **options})


def _is_invalid_scope(result: TokenSet | VaultError) -> bool:
    return isinstance(result, ProviderConfigurationError) and result.reason == "invalid_scope"


def _bound(result: TokenSet | VaultError) -> TokenSet | VaultError:
    """Refuse an access token that is not bound to the account's key; its refresh token is kept, as the only copy."""
    if not isinstance(result, TokenSet) or is_bound(result):
        return result
    return RefreshFailedError(
        UNBOUND, reason=TOKEN_NOT_BOUND, refresh_token=result.refresh_token, retry_after=_UNTIL_BOUND
    )


def _method(profile: Profile, *, is_public: bool) -> AuthMethod:
    by_choice = BY_CERTIFICATE | {"private_key_jwt"}
    known = [as_auth_method(method) for method in profile.client_auth if method not in by_choice]
    if not known and not is_public and profile.request.grant != "api_key":
        raise ConfigurationError(
            f"{profile.name}: its clients authenticate with {', '.join(profile.client_auth)}; pass a signing_key, or"
            " auth_method and a client with a certificate"
        )
    fitting = [method for method in known if (method == "none") == is_public]
    return (fitting or ["client_secret_basic"])[0]
