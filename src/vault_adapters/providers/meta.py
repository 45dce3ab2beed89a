"""`MetaTokenExchangeRefresher`: exchanges a long-lived Meta user token for a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from vault_adapters.providers.answers import Members
from vault_adapters.providers.client_auth import as_client_secret, check_client
from vault_adapters.providers.endpoint import as_client_id, as_token_url, shown
from vault_adapters.providers.http import Incoming, Outgoing, exchange, settle
from vault_adapters.providers.profiles import packaged_profile
from vault_adapters.providers.shaped_answers import read_shaped
from vault_adapters.providers.shaped_requests import members_of, signed
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import VaultError
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

_PROFILE = packaged_profile("whatsapp")
_CODES = frozenset(rule.code for rule in _PROFILE.errors.rules)
_BUSY = 2

META_TOKEN_URL = _PROFILE.token_url or ""


@scrubbed_class
@frozen(eq=False)
class MetaTokenExchangeRefresher:
    """Exchanges an access token (grant type ``fb_exchange_token``) for a new one that lasts about 60 days.

    Meta has no refresh tokens. The old token stays valid until it expires, so an exchange may be repeated. An expired
    token cannot be exchanged, and the user must connect again.

    Meta documents the exchange as a GET with the app's secret in the query. This class sends the parameters in a form
    instead, because clients, proxies and traces log URLs. Meta's PHP SDK sent a form, too.

    The profile ``whatsapp`` holds the lifetime of the tokens and the meaning of the error codes, with their sources.

    Args:
        client_id: the Meta app's id.
        client_secret: the Meta app's secret, text or `Secret`.
        token_url: the token endpoint; https, or http on loopback. To pin a version of the Graph API, use for example
            ``https://graph.facebook.com/v23.0/oauth/access_token``.
        client: an HTTP client, which the refresher never closes. None: the HTTP client of the vault; if there is no
            vault, a new HTTP client for each call.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """

    client_id: str = field(converter=as_client_id)
    client_secret: Secret | None = field(converter=as_client_secret)
    token_url: str = field(
        default=META_TOKEN_URL,
        converter=as_token_url,
        kw_only=True,
        repr=shown,
    )
    client: HttpClient | None = field(default=None, kw_only=True, repr=False)

    def __attrs_post_init__(self) -> None:
        check_client("client_secret_post", self.client_secret)

    @property
    def spends(self) -> TokenKind:
        """The kind of credential, which is the access token that the exchange replaces."""
        return TokenKind.ACCESS_TOKEN

    @property
    def rotation(self) -> Rotation:
        """The rotation policy: the old token stays valid until it expires."""
        return Rotation.non_rotating()

    def with_client(self, client: HttpClient) -> MetaTokenExchangeRefresher:
        """Return a copy that sends its requests through ``client``, which it never closes."""
        return evolve(self, client=client)

    def client_id_of(self, account: Account | None) -> str | None:
        """Return the client id, which all accounts share; see `ClientNamer`."""
        return self.client_id

    async def refresh(self, request: RefreshRequest) -> TokenSet:
        """Ask the provider for a new access token; see `TokenRefresher`."""
        return settle(await self._refresh(request), request.account)

    async def _refresh(self, request: RefreshRequest) -> TokenSet | VaultError:
        answer = await exchange(self.client, self._outgoing(request), request.deadline, request.send_deadline)
        return read_shaped(answer, _PROFILE, prepared=_numbered) if isinstance(answer, Incoming) else answer

    def _outgoing(self, request: RefreshRequest) -> Outgoing:
        return signed(
            _PROFILE,
            self.token_url,
            members_of(_PROFILE, request, (), {}, {}),
            client_id=self.client_id,
            client_secret=self.client_secret,
            auth_method="client_secret_post",
        )


def _numbered(members: Members) -> Members:
    """Return an answer's members; replace an error code for which the profile has no rule.

    The new code is 2 (try later) for a transient error, else ``invalid_request``.
    """
    error = members.get("error")
    if not isinstance(error, dict):
        return members
    number = error.get("code")
    is_known = type(number) is int and str(number) in _CODES
    if not is_known:
        number = _BUSY if error.get("is_transient") is True else "invalid_request"
    return {**members, "error": {"code": number}}
