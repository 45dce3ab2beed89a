"""Access tokens for aiohttp."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextvars import ContextVar
from typing import TYPE_CHECKING

from vault_adapters.clients.access import is_proved, misuse, value_of
from vault_adapters.clients.bearer_flow import awaitable
from vault_adapters.clients.challenges import asking, refuse_asking, refuse_forbidden
from vault_adapters.clients.extras import missing
from vault_adapters.clients.hosts import Hosts, Place
from vault_adapters.clients.proofs import NONCE, PROOF, SERVERS, refused_proof

try:
    import aiohttp
    from aiohttp.payload import BytesPayload
    from yarl import URL
except ModuleNotFoundError as error:
    raise missing(error, "aiohttp") from None

if TYPE_CHECKING:
    from vault_adapters.clients.access import AccessTokens
    from vault_domain.entities.account import Account
    from vault_domain.entities.token import Token

_REDIRECTS = frozenset({301, 302, 303, 307, 308})

# aiohttp calls a middleware for each hop of a chain of redirects, in the task of the request, and does not tell which
# hop it is. This variable holds the id of the middleware, the chain of the task's last request (see `_chain`), and the
# URLs to which the last response redirected and which do not get the token.
_forsaken: ContextVar[tuple[int, object, frozenset[URL]]] = ContextVar("forsaken", default=(0, None, frozenset()))


class VaultAuth:
    """Authenticates the requests of an aiohttp session with an account's access token.

    It is a client middleware: ``aiohttp.ClientSession(middlewares=[VaultAuth(vault, account)])``.

    - If a response rejects the token, this class reports the rejection to the vault and sends the request once more
      with the token that the vault then returns. For this report, the vault refreshes at most once.
    - A token that is bound to the account's key (DPoP, RFC 9449) is sent with a proof for each request, and once more
      if the server wants its nonce in the proof.
    - A request with a streamed body is not sent again: this class only reports the rejection, and the caller gets the
      first response.
    - Only https requests to the account's hosts get the token; a request to another host is refused and not sent. The
      hosts are those of ``hosts``, else those of the provider's profile. A loopback host may also use http. It may
      use any port if ``hosts`` or the profile names it without a port.
    - Only the request's origin gets the token: a redirect to another origin is followed without it.

    Args:
        vault: a `TokenVault`.
        account: the account whose token is sent.
        hosts: the hosts that may get the token, such as ``["api.example.com", "*.example.org"]``. ``*.example.org``
            stands for all hosts below ``example.org``, and ``api.example.com:8443`` has a port other than 443. None:
            the ``api_hosts`` of the provider's profile.
        rejected: function that returns whether a response rejects the token. The function sees status and headers
            only, because the body has not been read yet. None: a response with status 401 rejects the token.

    A request raises the errors of the vault's `ensure_access_token` and `report_rejected`, and

    - `ConsentRequiredError` if the API asks the user for more: with the status 403 for scopes (RFC 6750), or with 401,
      also after a refresh, for claims (Microsoft) or for a new sign-in (RFC 9470);
    - `ConfigurationError` with the code ``host_not_allowed``, or ``hosts_unknown`` if nothing names the hosts;
    - `VaultError` with the code ``token_not_sendable`` if a header cannot carry the token, or ``token_needs_proof`` if
      the token is bound to a key that the vault does not have;
    - `RuntimeError` if the vault is a `SyncVault`.

    Raises:
        InvalidInputError: an argument is not valid.
    """

    def __init__(
        self,
        vault: AccessTokens,
        account: Account,
        *,
        hosts: Collection[str] | None = None,
        rejected: Callable[[aiohttp.ClientResponse], bool] | None = None,
    ) -> None:
        refusal = misuse(vault, account, hosts)
        if refusal is not None:
            del vault, account, hosts  # tracebacks must not hold them
            raise refusal
        self._vault = vault
        self._account = account
        self._hosts = Hosts(hosts)
        self._rejected = rejected

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request with the token; send it without the token if a redirect from another origin led to it."""
        leaving, chain, targets = _forsaken.get()
        if leaving == id(self) and _bare(request.url) in targets and _chain(request) is chain:
            response = await handler(request)
            self._forsake(request, _targets(response))  # a chain that has left the origin never gets the token again
            return response
        self._forsake(request, frozenset())
        if self._hosts.named is not None:
            self._check(request)  # before the vault is asked for a token
        token = await awaitable(self._vault.ensure_access_token(self._account))
        response = await self._send(request, handler, token)
        try:
            refuse_forbidden(response.status, _challenges(response), token)
            if await self._refuses(response, token):
                with asking(_challenges(response), token):
                    fresh = await awaitable(self._vault.report_rejected(token))
                if _is_replayable(request):
                    response.release()
                    response = await self._send(request, handler, fresh)
                    refuse_asking(response.status, _challenges(response), fresh)
        except BaseException:
            response.close()  # no caller gets the response, so nobody else releases its connection
            raise
        origin = request.url.origin()
        self._forsake(request, frozenset(url for url in _targets(response) if _origin(url) != origin))
        return response

    def _check(self, request: aiohttp.ClientRequest, told: Collection[str] = ()) -> None:
        self._hosts.check(_place(request), self._account, told, proxied=request.proxy is not None)

    def _forsake(self, request: aiohttp.ClientRequest, targets: frozenset[URL]) -> None:
        _forsaken.set((id(self), _chain(request), targets))

    async def _refuses(self, response: aiohttp.ClientResponse, token: Token) -> bool:
        """Return whether a response rejects the token, and not only its proof."""
        if refused_proof(response.status, _challenges(response)) is not None:
            return False
        if self._rejected is not None:
            return self._rejected(response)
        kind, length = response.headers.get("Content-Type"), response.headers.get("Content-Length")
        header = await awaitable(self._vault.api_header(token))
        is_read = header.may_reject(response.status, kind, length)
        return response.status == 401 or (is_read and header.rejects(await response.read()))

    async def _send(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType, token: Token
    ) -> aiohttp.ClientResponse:
        if self._hosts.named is None:
            self._check(request, await awaitable(self._vault.api_hosts(token)))
        header = await awaitable(self._vault.api_header(token))
        request.headers[header.name] = value_of(header, token, proved=True)
        if not is_proved(header):
            return await handler(request)
        response = await self._prove(request, handler, token)
        if self._has_learned(request, response) and _is_replayable(request):
            response.release()
            response = await self._prove(request, handler, token)
            self._has_learned(request, response)
        return response

    async def _prove(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType, token: Token
    ) -> aiohttp.ClientResponse:
        """Send a request with a proof that the vault holds the token's key."""
        known = SERVERS.known(str(request.url))
        proof = await awaitable(self._vault.api_proof(token, request.method, str(request.url), **known))
        request.headers[PROOF] = proof or ""
        return await handler(request)

    def _has_learned(self, request: aiohttp.ClientRequest, response: aiohttp.ClientResponse) -> bool:
        nonce, date = response.headers.get(NONCE), response.headers.get("Date")
        return SERVERS.has_learned(str(request.url), response.status, nonce, date, _challenges(response))


def _is_replayable(request: aiohttp.ClientRequest) -> bool:
    return isinstance(request.body, (bytes, BytesPayload))


def _chain(request: aiohttp.ClientRequest) -> object:
    """Return the object that all hops of one chain of redirects have in common, and no other request has.

    The object is the timer of the chain's time limit. It distinguishes a hop from a request that the caller itself
    sends to the target of a redirect, after telling aiohttp not to follow redirects. If requests have no such timer,
    the caller's request is taken for a hop and gets no token.
    """
    return getattr(request, "_timer", None)


def _targets(response: aiohttp.ClientResponse) -> frozenset[URL]:
    """Return the URLs that aiohttp may request for a redirect: the location as sent, and the location quoted again.

    They have no user and password, because aiohttp moves these from the URL into a header.
    """
    location = response.headers.get("Location") or response.headers.get("URI")
    if response.status not in _REDIRECTS or location is None:
        return frozenset()
    found = set()
    for encoded in (False, True):
        try:
            found.add(_bare(response.url.join(URL(location, encoded=encoded))))
        except ValueError:  # aiohttp refuses it too
            continue
    return frozenset(found)


def _bare(url: URL) -> URL:
    return url.with_user(None).with_fragment(None)


def _origin(url: URL) -> URL | None:
    try:
        return url.origin()
    except ValueError:
        return None


def _challenges(response: aiohttp.ClientResponse) -> list[str]:
    return list(response.headers.getall("WWW-Authenticate", ()))


def _place(request: aiohttp.ClientRequest) -> Place:
    url = request.url
    return Place(url.scheme, (url.raw_host or "").strip("[]"), url.port)
