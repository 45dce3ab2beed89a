"""Sends one HTTP request to a provider, with limits of time and size, and without the HTTP library's log records."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

from attrs import field, frozen

from vault_adapters.providers.addresses import PrivateAddressError, refuse_private_host, refuse_private_peer
from vault_adapters.providers.body import Body
from vault_adapters.providers.descriptions import describe
from vault_adapters.providers.quiet import quiet_exchange
from vault_adapters.providers.reasons import cause_of_failure
from vault_adapters.runtime.time_limit import OVERSLEPT, Beat, TimeLimit
from vault_domain.entities.account import Account
from vault_domain.entities.causes import PRIVATE_ADDRESS
from vault_domain.entities.errors import ConfigurationError, RefreshFailedError, VaultError
from vault_domain.ports.token_refresher import TokenRefresher

if TYPE_CHECKING:
    import httpx
    import httpx2

    HttpClient: TypeAlias = httpx2.AsyncClient | httpx.AsyncClient

_log = logging.getLogger(__name__)
T = TypeVar("T")

_KEPT_ALIVE = 20
"""Largest number of idle connections that a client of ours keeps open."""

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "token-vault"}
# Compare class names, so that a host may use httpx or httpx2 and neither has to be imported here.
_NOT_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "InvalidURL"}


@runtime_checkable
class HttpBound(Protocol):
    """A refresher that can use a given HTTP client."""

    @property
    def client(self) -> HttpClient | None:
        """The given client, or None."""

    def with_client(self, client: HttpClient) -> HttpBound:
        """Return a copy that sends its requests through ``client``, which it never closes."""


@frozen
class Outgoing:
    """A request to send. Its repr hides the query, the content and the headers, because tracebacks may show locals."""

    url: str = field(repr=lambda url: repr(url.partition("?")[0]))
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    method: str = "POST"
    public: bool = False
    """Whether the request must not go to a private address (`addresses`), because somebody else chose its URL."""


@frozen
class Incoming:
    """A complete answer.

    Attributes:
        status: the HTTP status.
        headers: the headers, by case-insensitive name.
        body: the body; None if it was too large, could not be decoded or is not needed.
        received_at: time of receipt by the wall clock, UTC.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    received_at: datetime


async def exchange(
    client: HttpClient | None, outgoing: Outgoing, deadline: timedelta, send_deadline: timedelta | None = None
) -> Incoming | RefreshFailedError | ConfigurationError:
    """Send ``outgoing`` once and return the answer, or the error to raise.

    It returns errors instead of raising them, because a traceback keeps frames, and this function's frames hold
    credentials.

    A complete JSON object counts as the answer even if the connection broke before the end of the body. If the process
    was suspended until after the deadline, the answer to a request that has left is read for half a second more.

    Args:
        client: the client to use, which stays open; redirects and its ``auth`` are switched off for this request.
            None: `exchange` opens and closes its own client, which ignores the environment (no proxies, no netrc).
        outgoing: the request.
        deadline: longest time for the exchange, from the name look-up to the last byte.
        send_deadline: longest time until the request leaves; None: only ``deadline`` counts. httpcore's transport
            reports when the request leaves. With a transport that does not report it, the request may have left in
            time, so its answer is awaited until ``deadline``.
    """
    send_seconds = min(send_deadline or deadline, deadline).total_seconds()
    progress = _Progress(traced=client is None, seconds=send_seconds, public=outgoing.public)
    beat = Beat(send_seconds, progress.may_have_left)
    limit = TimeLimit(deadline.total_seconds(), lambda: progress.sending, beat=beat)
    failure: RefreshFailedError | ConfigurationError | None = None
    stopped: BaseException | None = None
    try:
        with quiet_exchange():
            async with limit:
                if outgoing.public:
                    await refuse_private_host(outgoing.url)
                await _exchange(client, outgoing, send_seconds, progress)
    except ConfigurationError as error:
        failure = error.with_traceback(None)
    except PrivateAddressError:
        failure = RefreshFailedError("the address is a private one", reason=PRIVATE_ADDRESS)
    except Exception as error:  # catch every error, because it may refer to the request, which holds credentials
        what = "it did not answer in time" if limit.is_over else type(error).__name__
        failure = progress.failed(what, error, not_sent=not _NOT_SENT.isdisjoint(_names(error)))
    except BaseException as error:  # raise a cancellation below, without the frames that hold credentials
        stopped = error.with_traceback(None)
    if stopped is not None:
        raise stopped
    # A complete answer counts, even if closing the connection failed or took too long.
    answer = progress.answer or progress.complete_despite_the_break()
    if answer is None:
        return failure or progress.failed("no answer", TimeoutError())
    _log.debug("the provider answered %d", answer.status)
    describe(answer.status, answer.body, outgoing.content, outgoing.headers.values())
    return answer


def settle(outcome: T | VaultError, account: Account) -> T:
    """Return an outcome, or raise it if it is an error, from a frame without secrets."""
    if isinstance(outcome, VaultError):
        outcome.account = account
        try:
            raise outcome
        finally:
            # A frame that holds its own error stays until the garbage collector runs, and the error may hold a token.
            del outcome
    return outcome


class _Progress:
    """The progress of an exchange; httpcore's trace shows whether any part of the request may have been sent."""

    def __init__(self, *, traced: bool, seconds: float, public: bool) -> None:
        self.traced = traced
        self._public = public
        self._send_by = asyncio.get_running_loop().time() + seconds
        self.sending = False
        self.answer: Incoming | None = None
        self._begun: tuple[Any, Body] | None = None

    async def read(self, response: Any) -> None:
        """Read a response whose head has arrived."""
        body = None
        if body_matters(response.status_code):
            reading = Body(response)
            self._begun = response, reading
            body = await reading.read()
        self.answer = Incoming(response.status_code, response.headers, body, datetime.now(UTC))

    def complete_despite_the_break(self) -> Incoming | None:
        """Return the answer if all of its JSON object arrived before the connection broke."""
        response, body = self._begun or (None, None)
        content = None if body is None else body.complete_object()
        if response is None or content is None:
            return None
        _log.info("the provider's answer is complete, although the connection broke before its end")
        return Incoming(response.status_code, response.headers, content, datetime.now(UTC))

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        self.traced = True
        if self._public and event == "connection.connect_tcp.complete":
            # The name may lead elsewhere than a moment ago; nothing has been sent on this connection yet.
            await refuse_private_peer(info["return_value"])
        if not self.sending and event.endswith("send_request_headers.started") and not _is_for_a_proxy(info):
            # A process that was suspended may get here before its timers run. The lease may be over by then.
            if asyncio.get_running_loop().time() > self._send_by:
                raise TimeoutError
            self.sending = True

    def may_have_left(self, late: float) -> bool:
        """Return whether the request has left, or may have; ``late`` tells how long the process was suspended."""
        return self.sending or (not self.traced and late < OVERSLEPT)

    def failed(self, what: str, error: BaseException, *, not_sent: bool = False) -> RefreshFailedError:
        # A client with a transport other than httpcore does not trace, so assume that the request may have been sent.
        sent = not (not_sent or (self.traced and not self.sending))
        reason = cause_of_failure(error, sent=sent)
        if not sent:
            return RefreshFailedError(f"the provider could not be reached ({what})", reason=reason)
        message = f"the exchange with the provider broke off ({what})"
        return RefreshFailedError(message, reason=reason, outcome_unknown=True)


def _is_for_a_proxy(info: Mapping[str, Any]) -> bool:
    """Return whether a traced request asks a proxy for a tunnel; such a request tells the provider nothing."""
    return getattr(info.get("request"), "method", None) == b"CONNECT"


async def _exchange(client: HttpClient | None, outgoing: Outgoing, seconds: float, progress: _Progress) -> None:
    async with opened(client) as http:
        # End the wait for a connection a little before the limit. The HTTP client then raises an error of
        # `_NOT_SENT`, which shows that nothing was sent.
        waiting = seconds * 0.9
        request = http.build_request(
            outgoing.method,
            outgoing.url,
            content=outgoing.content,
            headers={**_HEADERS, **outgoing.headers},
            timeout=(waiting, None, None, waiting),
            extensions={"trace": progress.trace},
        )
        if "Authorization" not in outgoing.headers:
            request.headers.pop("Authorization", None)  # drops a default header of the host's client
        response = await http.send(request, stream=True, auth=None, follow_redirects=False)
        try:
            await progress.read(response)
        finally:
            await response.aclose()


def body_matters(status: int) -> bool:
    """Return whether an answer's body is read: not if the status is a redirect, 429 or a server error."""
    return 200 <= status < 300 or (400 <= status < 500 and status != 429)


@asynccontextmanager
async def opened(client: HttpClient | None) -> AsyncIterator[Any]:
    """Yield the given client, which stays open. If none is given, yield a new one and close it at the end."""
    if client is not None:
        yield client
        return
    async with own_client() as own:
        yield own


def own_client() -> HttpClient:
    """Return a new client that ignores the environment: no proxies, no netrc, no redirects.

    Raises:
        ConfigurationError: httpx2 is not installed.
    """
    http = _httpx2()
    # A request that hangs keeps its connection long after its turn. All providers and tenants share this client, so a
    # limit of connections would let them delay one another. `provider_concurrency` limits how many requests begin.
    limits = http.Limits(max_connections=None, max_keepalive_connections=_KEPT_ALIVE)
    client: HttpClient = http.AsyncClient(trust_env=False, follow_redirects=False, limits=limits)
    return client


async def bound_refreshers(
    refreshers: Mapping[str, TokenRefresher], http_client: Any, stack: AsyncExitStack
) -> dict[str, TokenRefresher]:
    """Let the HTTP refreshers share one client: the host's, or a new one that is closed with the stack."""
    bound = dict(refreshers)
    unbound = {name: item for name, item in bound.items() if isinstance(item, HttpBound) and item.client is None}
    if not unbound:
        return bound
    client = http_client or await stack.enter_async_context(own_client())
    for name, refresher in unbound.items():
        bound[name] = cast("TokenRefresher", refresher.with_client(client))
    return bound


def _httpx2() -> Any:
    with suppress(ImportError):
        import httpx2

        return httpx2
    raise ConfigurationError("calling a provider needs httpx2: install token-vault[http], or pass an HTTP client")


def _names(error: BaseException) -> set[str]:
    return {cls.__name__ for cls in type(error).__mro__}
