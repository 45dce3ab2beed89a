"""`MetaTokenExchangeRefresher`: exchanges a long-lived Meta user token for a new one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from attrs import evolve, field, frozen

from vault_adapters.providers.answers import Members, read_answer
from vault_adapters.providers.client_auth import as_client_secret, check_client
from vault_adapters.providers.endpoint import as_client_id, as_token_url, shown
from vault_adapters.providers.http import Incoming, Outgoing, exchange, settle
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import VaultError
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.secret import Secret
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient

META_TOKEN_URL = "https://graph.facebook.com/oauth/access_token"

_LIFETIME = timedelta(days=60)
_DEAD_TOKEN = frozenset({102, 190})
_BUSY = frozenset({1, 2, 4, 17, 32, 341, 613})
_WRONG_APP = 101


@scrubbed_class
@frozen(eq=False)
class MetaTokenExchangeRefresher:
    """Exchanges the access token itself (``fb_exchange_token``) for a new one that lasts about 60 days.

    Meta has no refresh tokens. The old token stays valid, so an exchange may be repeated. An expired token cannot be
    exchanged, and the user must log in again.

    Meta documents the exchange as a GET with the app's secret in the query. This class sends the same parameters as a
    form, as Meta's PHP SDK did, because clients, proxies and traces log URLs.

    Sources: developers.facebook.com/docs/pages/access-tokens ("valid for 60 days") and
    developers.facebook.com/docs/graph-api/guides/error-handling (error codes).

    Args:
        client_id: the app's id.
        client_secret: the app's secret, text or `Secret`.
        token_url: the token endpoint; https, or http on loopback. To pin a version of the Graph API, use for example
            ``https://graph.facebook.com/v23.0/oauth/access_token``.
        client: an HTTP client, which is never closed; None opens one for each call.

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
        """The kind of credential: the access token that the exchange replaces."""
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
        answer = await exchange(
            self.client, self._outgoing(request.credential), request.deadline, request.send_deadline
        )
        if not isinstance(answer, Incoming):
            return answer
        return read_answer(answer, dialect=_graph_errors, default_lifetime=_LIFETIME)

    def _outgoing(self, credential: Secret) -> Outgoing:
        form = {
            "grant_type": "fb_exchange_token",
            "client_id": self.client_id,
            "client_secret": self.client_secret.reveal() if self.client_secret else "",
            "fb_exchange_token": credential.reveal(),
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Outgoing(self.token_url, urlencode(form).encode(), headers)


def _graph_errors(status: int, members: Members | None) -> Members | None:
    """Replace the Graph API's error numbers by OAuth error codes; its rate limits have status 400."""
    error = members.get("error") if members is not None else None
    if members is None or not isinstance(error, dict):
        return members
    return {**members, "error": _oauth_code(error)}


def _oauth_code(error: Members) -> str:
    code = error.get("code")
    number = code if isinstance(code, int) else 0
    if number in _DEAD_TOKEN:
        return "invalid_grant"
    if error.get("is_transient") is True or number in _BUSY:
        return "temporarily_unavailable"
    return "invalid_client" if number == _WRONG_APP else "invalid_request"
