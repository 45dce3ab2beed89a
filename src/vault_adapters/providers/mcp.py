"""`McpRefresher`: refreshes the tokens of MCP servers, each at its own authorization server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from vault_adapters.providers.answers import read_answer
from vault_adapters.providers.client_auth import AuthMethod, as_auth_method, as_client_secret, signed_form
from vault_adapters.providers.endpoint import as_chosen_endpoint, as_client_id
from vault_adapters.providers.http import Incoming, Outgoing, exchange, settle
from vault_adapters.providers.oauth_errors import CONDEMNS_KEY
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import InvalidInputError, ProviderConfigurationError, VaultError
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

PROVIDER = "mcp"
"""Name of the provider of all MCP servers; the identifier of an account is the server's canonical URI."""

_PREFIX = "mcp_"
_MEMBERS = ("client_id", "client_secret", "auth_method", "issuer", "authorization_url", "token_url", "revocation_url")


@frozen
class Registration:
    """A client, and the endpoints that it is known at; they stay the same until the user comes back.

    Attributes:
        client_id: the client's id.
        client_secret: its secret, or None.
        auth_method: how it authenticates at the token endpoint.
        issuer, authorization_url, token_url, revocation_url: see `AuthorizationServer`.
        sends_iss: see `AuthorizationServer`.
        expires_at: when the secret ends, or None.
        redirect_uri: the address that the authorization server sends users back to.
        is_own: whether this address is of this issuer alone, so that it shows who sent an answer.
        by_hand: whether the host has registered the client, and so trusts the issuer.
    """

    client_id: str
    client_secret: Secret | None
    auth_method: AuthMethod
    issuer: str
    authorization_url: str
    token_url: str
    revocation_url: str | None = None
    sends_iss: bool = False
    expires_at: datetime | None = field(default=None, eq=False)
    redirect_uri: str = ""
    is_own: bool = False
    by_hand: bool = False

    @property
    def members(self) -> dict[str, str]:
        """The registration as texts by name."""
        secret = None if self.client_secret is None else self.client_secret.reveal()
        texts = {name: secret if name == "client_secret" else getattr(self, name) for name in _MEMBERS}
        return {name: text for name, text in texts.items() if text is not None}

    def request(self, url: str, form: Mapping[str, str]) -> Outgoing:
        """Return an authenticated POST of a form."""
        return signed_form(
            url,
            {**form, "client_id": self.client_id},  # servers of the SDK want it with Basic authentication too
            client_id=self.client_id,
            client_secret=self.client_secret,
            auth_method=self.auth_method,
        )

    @classmethod
    def of(cls, members: Mapping[str, str]) -> Registration:
        """Return the registration that `members` described.

        Raises:
            InvalidInputError, KeyError: they describe none.
        """
        return cls(
            as_client_id(members["client_id"]),
            as_client_secret(members.get("client_secret")),
            as_auth_method(members["auth_method"]),
            members["issuer"],
            members["authorization_url"],
            members["token_url"],
            members.get("revocation_url"),
            bool(members.get("sends_iss")),
        )


@scrubbed_class
@frozen(eq=False)
class McpRefresher:
    """Refreshes the accounts that a `McpConnector` has connected: ``refreshers={"mcp": McpRefresher()}``.

    The client and the token endpoint of an account are sealed with its access token. If the authorization server has
    forgotten the client, the account must be connected again; the connector then registers a new client.

    Args:
        private_addresses: whether requests may go to private addresses, and to loopback by http.
        client: an HTTP client, which the refresher never closes. None: the HTTP client of the vault.
    """

    private_addresses: bool = field(default=False, kw_only=True)
    client: HttpClient | None = field(default=None, kw_only=True, repr=False)

    @property
    def rotation(self) -> Rotation:
        """Servers of public clients must rotate refresh tokens, so each counts as strict (OAuth 2.1 section 4.3.1)."""
        return Rotation.strict()

    @property
    def spends(self) -> TokenKind:
        """The kind of credential, which is a refresh token."""
        return TokenKind.REFRESH_TOKEN

    def with_client(self, client: HttpClient) -> McpRefresher:
        """Return a copy that sends its requests through ``client``, which it never closes."""
        return evolve(self, client=client)

    async def token_url_of(self, account: Account, extra: Mapping[str, str]) -> str | None:
        """Return the account's token endpoint; see `EndpointNamer`."""
        return extra.get(f"{_PREFIX}token_url")

    async def hosts_of(self, account: Account, extra: Mapping[str, str]) -> Iterable[str]:
        """Return the server's host; see `HostNamer`."""
        return hosts_at(account)

    async def refresh(self, request: RefreshRequest) -> TokenSet:
        """Ask the account's authorization server for a new access token; see `TokenRefresher`."""
        form = {"grant_type": "refresh_token", "refresh_token": request.credential.reveal()}
        return settle(await self._refresh(form, request), request.account)

    async def revoke(self, request: RefreshRequest) -> bool | None:
        """Revoke a refresh token or an access token (RFC 7009); see `TokenRevoker`."""
        found = registration_of(request.extra)
        if found is None or found.revocation_url is None:
            return None
        form = {"token": request.credential.reveal(), "token_type_hint": request.kind.value}
        answer = await self._post(found.revocation_url, form, found, request)
        return isinstance(answer, Incoming) and answer.status == 200

    async def _refresh(self, form: dict[str, str], request: RefreshRequest) -> TokenSet | VaultError:
        found = registration_of(request.extra)
        if found is None:
            return ProviderConfigurationError("the account was not connected by a McpConnector", refused=False)
        if resource := request.extra.get(f"{_PREFIX}resource"):
            form["resource"] = resource
        answer = await self._post(found.token_url, form, found, request)
        return read_answer(answer, condemns=CONDEMNS_KEY) if isinstance(answer, Incoming) else answer

    async def _post(
        self, url: str, form: dict[str, str], client: Registration, request: RefreshRequest
    ) -> Incoming | VaultError:
        try:
            as_chosen_endpoint(url, "token_url", private=self.private_addresses)
        except InvalidInputError as error:
            return ProviderConfigurationError(str(error), refused=False)
        outgoing = client.request(url, form)
        form.clear()  # a cancellation's traceback keeps this frame, so the form must not hold the credential
        outgoing = evolve(outgoing, public=not self.private_addresses)
        return await exchange(self.client, outgoing, request.deadline, request.send_deadline)


def hosts_at(account: Account) -> tuple[str, ...]:
    """Return the host of an account's server, which its identifier names."""
    return (urlsplit(account.identifier).netloc,) if account.identifier else ()


def kept_with_token(registration: Registration, resource: str | None) -> dict[str, str]:
    """Return the members that are sealed with an access token, so that it can be refreshed."""
    members = {f"{_PREFIX}{name}": text for name, text in registration.members.items()}
    return members if resource is None else {**members, f"{_PREFIX}resource": resource}


def registration_of(extra: Mapping[str, str]) -> Registration | None:
    """Return the registration that is sealed with an access token, or None."""
    members = {name.removeprefix(_PREFIX): text for name, text in extra.items() if name.startswith(_PREFIX)}
    try:
        return Registration.of(members)
    except (InvalidInputError, KeyError):
        return None
