"""Access tokens for the library `requests`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from vault_adapters.clients.access import is_proved, misuse, value_of
from vault_adapters.clients.challenges import asking, refuse_asking, refuse_forbidden
from vault_adapters.clients.extras import missing
from vault_adapters.clients.hosts import Hosts, place_of
from vault_adapters.clients.proofs import NONCE, PROOF, SERVERS, refused_proof

try:
    import requests
    from requests.auth import AuthBase
except ModuleNotFoundError as error:
    raise missing(error, "requests") from None

if TYPE_CHECKING:
    from vault_adapters.clients.access import SyncAccessTokens
    from vault_adapters.clients.hosts import Place
    from vault_domain.entities.account import Account
    from vault_domain.entities.api_header import ApiHeader
    from vault_domain.entities.token import Token


class VaultAuth(AuthBase):
    """Authenticates requests with an account's access token: ``session.auth = VaultAuth(vault, account)``.

    - If a response rejects the token, this class reports the rejection to the vault and sends the request once more
      with the token that the vault then returns. For this report, the vault refreshes at most once.
    - A token that is bound to the account's key (DPoP, RFC 9449) is sent with a proof for each request, and once more
      if the server wants its nonce in the proof.
    - A request with a streamed body is not sent again: this class only reports the rejection, and the caller gets the
      first response.
    - Only https requests to the account's hosts get the token; a request to another host is refused and not sent. The
      hosts are those of ``hosts``, else those of the provider's profile. A loopback host may also use http. It may
      use any port if ``hosts`` or the profile names it without a port.
    - The library `requests` removes the token's header when a redirect leads to another host.

    Args:
        vault: a `SyncVault`.
        account: the account whose token is sent.
        hosts: the hosts that may get the token, such as ``["api.example.com", "*.example.org"]``. ``*.example.org``
            stands for all hosts below ``example.org``, and ``api.example.com:8443`` has a port other than 443. None:
            the ``api_hosts`` of the provider's profile.
        rejected: function that returns whether a response rejects the token. None: a response with status 401 rejects
            the token.

    A request raises the errors of the vault's `ensure_access_token` and `report_rejected`, and

    - `ConsentRequiredError` if the API asks the user for more: with the status 403 for scopes (RFC 6750), or with 401,
      also after a refresh, for claims (Microsoft) or for a new sign-in (RFC 9470);
    - `ConfigurationError` with the code ``host_not_allowed``, or ``hosts_unknown`` if nothing names the hosts;
    - `VaultError` with the code ``token_not_sendable`` if a header cannot carry the token, or ``token_needs_proof`` if
      the token is bound to a key that the vault does not have.

    Raises:
        InvalidInputError: an argument is not valid.
    """

    def __init__(
        self,
        vault: SyncAccessTokens,
        account: Account,
        *,
        hosts: Collection[str] | None = None,
        rejected: Callable[[requests.Response], bool] | None = None,
    ) -> None:
        refusal = misuse(vault, account, hosts)
        if refusal is not None:
            del vault, account, hosts  # tracebacks must not hold them
            raise refusal
        self._vault = vault
        self._account = account
        self._hosts = Hosts(hosts)
        self._rejected = rejected

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the token into a request, and register a hook for its response."""
        place = place_of(request.url or "")
        if self._hosts.named is not None:
            self._hosts.check(place, self._account)  # before the vault is asked for a token
        token = self._vault.ensure_access_token(self._account)
        self._check_told(place, token)
        header = self._vault.api_header(token)
        self._sign(request, token, header)
        request.register_hook("response", partial(self._answered, token, header))
        return request

    def _sign(self, request: requests.PreparedRequest, token: Token, header: ApiHeader) -> None:
        request.headers[header.name] = value_of(header, token, proved=True)
        if is_proved(header):
            url = request.url or ""
            proof = self._vault.api_proof(token, request.method or "", url, **SERVERS.known(url))
            request.headers[PROOF] = proof or ""

    def _answered(
        self, token: Token, header: ApiHeader, response: requests.Response, **settings: Any
    ) -> requests.Response:
        # Responses after redirects come here too. A request that was redirected to another host carries no
        # token, so its response does not reject the token.
        sent = response.request.headers.get(header.name) == value_of(header, token, proved=True)
        has_proof = _forget(header, response.request)
        if sent and is_proved(header):
            response = self._proved(response, token, header, settings, has_proof=has_proof)
            sent = refused_proof(response.status_code, _challenges(response)) is None
        try:
            if sent:
                refuse_forbidden(response.status_code, _challenges(response), token)
            if not sent or not self._refused(response, header):
                return response
            with asking(_challenges(response), token):
                fresh = self._vault.report_rejected(token)
            self._check_told(place_of(response.request.url or ""), fresh)
            header = self._vault.api_header(fresh)
        except BaseException:
            response.close()  # no caller gets the response, so nobody else releases its connection
            raise
        if not _is_replayable(response.request):
            return response
        again = self._sent_again(response, fresh, header, settings)
        if is_proved(header):
            again = self._proved(again, fresh, header, settings, has_proof=True)
        try:
            refuse_asking(again.status_code, _challenges(again), fresh)
        except BaseException:
            again.close()
            raise
        return again

    def _refused(self, response: requests.Response, header: ApiHeader) -> bool:
        if self._rejected is not None:
            return self._rejected(response)
        kind, length = response.headers.get("Content-Type"), response.headers.get("Content-Length")
        is_read = header.may_reject(response.status_code, kind, length)
        return response.status_code == 401 or (is_read and header.rejects(response.content))

    def _proved(
        self,
        response: requests.Response,
        token: Token,
        header: ApiHeader,
        settings: dict[str, Any],
        *,
        has_proof: bool,
    ) -> requests.Response:
        """Send a request again if another proof is wanted; return the response that counts.

        The server may want its nonce in the proof. Or it has redirected within its origin, so that the request carries
        the token without a proof, because a proof is of one URL.
        """
        is_wanted = self._has_learned(response) or (response.status_code == 401 and not has_proof)
        if not is_wanted or not _is_replayable(response.request):
            return response
        again = self._sent_again(response, token, header, settings)
        self._has_learned(again)
        return again

    def _sent_again(
        self, response: requests.Response, token: Token, header: ApiHeader, settings: dict[str, Any]
    ) -> requests.Response:
        """Repeat a request over the same connection, as digest authentication in the library `requests` does."""
        _ = response.content  # reads the body to its end, so that the connection can be used again
        response.close()
        request = response.request.copy()
        self._sign(request, token, header)
        connection: requests.adapters.BaseAdapter = response.connection
        again = connection.send(request, **settings)
        _forget(header, request)
        again.history.append(response)
        again.request = request
        return again

    def _has_learned(self, response: requests.Response) -> bool:
        nonce, date = response.headers.get(NONCE), response.headers.get("Date")
        url, status = response.request.url or "", response.status_code
        return SERVERS.has_learned(url, status, nonce, date, _challenges(response))

    def _check_told(self, place: Place | None, token: Token) -> None:
        if self._hosts.named is None:
            self._hosts.check(place, self._account, self._vault.api_hosts(token))


def _challenges(response: requests.Response) -> list[str]:
    return [response.headers.get("WWW-Authenticate", "")]


def _forget(header: ApiHeader, request: requests.PreparedRequest) -> bool:
    """Remove token and proof from an answered request whose headers `requests` copies for a redirect.

    To another host, `requests` itself removes Authorization only. Return whether the request had a proof.
    """
    if header.name.lower() != "authorization":
        request.headers.pop(header.name, None)
    return is_proved(header) and request.headers.pop(PROOF, None) is not None


def _is_replayable(request: requests.PreparedRequest) -> bool:
    return isinstance(request.body, str | bytes | None)
