"""The authentication flow that the httpx and httpx2 modules share."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from vault_adapters.clients.access import is_proved, value_of
from vault_adapters.clients.challenges import asking, refuse_asking, refuse_forbidden
from vault_adapters.clients.proofs import NONCE, PROOF, SERVERS, refused_proof

if TYPE_CHECKING:
    from vault_adapters.clients.access import AccessTokens, SyncAccessTokens
    from vault_adapters.clients.hosts import Hosts, Place
    from vault_domain.entities.account import Account
    from vault_domain.entities.api_header import ApiHeader
    from vault_domain.entities.token import Token

Request = TypeVar("Request", bound=Any)
Response = TypeVar("Response", bound=Any)


class BearerFlow(Generic[Request, Response]):
    """Sends requests with a token, and reports to the vault if a response rejects the token.

    The vault then returns the token to try next. If the request can be sent again, it is sent with this token.

    Args:
        vault: a `TokenVault` for async clients, a `SyncVault` for sync clients.
        account: the account whose token is sent.
        hosts: the hosts that may get the token.
        rejected: function that returns whether a response rejects the token. The function sees status and headers
            only, because the body has not been read yet. None: a response with status 401 rejects the token, or with an
            error that the provider's profile names; for this, short JSON is read.
        replayable: function that returns whether a request can be sent again.
        place_of: function that returns the scheme, host and port that a request goes to.
    """

    def __init__(
        self,
        vault: AccessTokens | SyncAccessTokens,
        account: Account,
        hosts: Hosts,
        rejected: Callable[[Response], bool] | None,
        replayable: Callable[[Request], bool],
        place_of: Callable[[Request], Place],
    ) -> None:
        self._vault: Any = vault
        self._account = account
        self._hosts = hosts
        self._place_of = place_of
        self._rejected = rejected
        self._replayable = replayable

    async def async_auth_flow(self, request: Request) -> AsyncGenerator[Request, Response]:
        """Authenticate a request of an async client."""
        self._check_named(request)
        token = await awaitable(self._vault.ensure_access_token(self._account))
        await self._check_told(request, token)
        header = await awaitable(self._vault.api_header(token))
        response = yield await self._signed(request, token, header)
        if (again := self._to_prove(response, token, header)) is not None:
            response = yield await self._signed(again, token, header)
        if _sent(response, token, header):
            refuse_forbidden(response.status_code, _challenges(response), token)
        if self._has_to_read(response, token, header):
            await response.aread()
        if self._refused(response, token, header):
            with asking(_challenges(response), token):
                fresh = await awaitable(self._vault.report_rejected(token))
            if self._replayable(request):
                await self._check_told(request, fresh)
                header = await awaitable(self._vault.api_header(fresh))
                response = yield await self._signed(request, fresh, header)
                if (again := self._to_prove(response, fresh, header)) is not None:
                    response = yield await self._signed(again, fresh, header)
                if _sent(response, fresh, header):
                    refuse_asking(response.status_code, _challenges(response), fresh)

    def sync_auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        """Authenticate a request of a sync client."""
        self._check_named(request)
        token = _immediate(self._vault.ensure_access_token(self._account))
        self._check_told_now(request, token)
        header = _immediate(self._vault.api_header(token))
        response = yield self._signed_now(request, token, header)
        if (again := self._to_prove(response, token, header)) is not None:
            response = yield self._signed_now(again, token, header)
        if _sent(response, token, header):
            refuse_forbidden(response.status_code, _challenges(response), token)
        if self._has_to_read(response, token, header):
            response.read()
        if self._refused(response, token, header):
            with asking(_challenges(response), token):
                fresh = _immediate(self._vault.report_rejected(token))
            if self._replayable(request):
                self._check_told_now(request, fresh)
                header = _immediate(self._vault.api_header(fresh))
                response = yield self._signed_now(request, fresh, header)
                if (again := self._to_prove(response, fresh, header)) is not None:
                    response = yield self._signed_now(again, fresh, header)
                if _sent(response, fresh, header):
                    refuse_asking(response.status_code, _challenges(response), fresh)

    def _check_named(self, request: Request) -> None:
        """Check the request's host before the vault is asked for a token; do nothing if the caller named no hosts."""
        if self._hosts.named is not None:
            self._hosts.check(self._place_of(request), self._account)

    async def _check_told(self, request: Request, token: Token) -> None:
        if self._hosts.named is None:
            told = await awaitable(self._vault.api_hosts(token))
            self._hosts.check(self._place_of(request), self._account, told)

    def _check_told_now(self, request: Request, token: Token) -> None:
        if self._hosts.named is None:
            self._hosts.check(self._place_of(request), self._account, _immediate(self._vault.api_hosts(token)))

    async def _signed(self, request: Request, token: Token, header: ApiHeader) -> Request:
        proof = None
        if is_proved(header):
            known = SERVERS.known(str(request.url))
            proof = await awaitable(self._vault.api_proof(token, request.method, str(request.url), **known))
        return _with_token(request, token, header, proof)

    def _signed_now(self, request: Request, token: Token, header: ApiHeader) -> Request:
        proof = None
        if is_proved(header):
            known = SERVERS.known(str(request.url))
            proof = _immediate(self._vault.api_proof(token, request.method, str(request.url), **known))
        return _with_token(request, token, header, proof)

    def _to_prove(self, response: Response, token: Token, header: ApiHeader) -> Request | None:
        """Return the request to send again with another proof; None if there is none.

        The server may want its nonce in the proof. Or it has redirected within its origin, so that the request carries
        the token without a proof, because a proof is of one URL.
        """
        if not is_proved(header) or not _carries(response, token, header):
            return None
        request = response.request
        has_learned = self._has_learned(response)
        if response.status_code != 401 or not (has_learned or PROOF not in request.headers):
            return None
        return request if self._replayable(request) else None

    def _refused(self, response: Response, token: Token, header: ApiHeader) -> bool:
        if is_proved(header):
            self._has_learned(response)
            if refused_proof(response.status_code, _challenges(response)) is not None:
                return False
        if not _sent(response, token, header):
            return False
        if self._rejected is not None:
            return self._rejected(response)
        is_read = self._has_to_read(response, token, header)
        return bool(response.status_code == 401) or (is_read and header.rejects(response.content))

    def _has_to_read(self, response: Response, token: Token, header: ApiHeader) -> bool:
        """Return whether the body must be read, because the provider's profile names errors in it."""
        kind, length = response.headers.get("Content-Type"), response.headers.get("Content-Length")
        is_open = self._rejected is None and _sent(response, token, header)
        return is_open and header.may_reject(response.status_code, kind, length)

    def _has_learned(self, response: Response) -> bool:
        nonce, date = response.headers.get(NONCE), response.headers.get("Date")
        url, status = str(response.request.url), response.status_code
        return SERVERS.has_learned(url, status, nonce, date, _challenges(response))


def _sent(response: Any, token: Token, header: ApiHeader) -> bool:
    # A request that was redirected to another origin lacks the token's header, so its response says nothing about the
    # token. Nor does the response to a request that lacks its proof.
    is_whole = not is_proved(header) or PROOF in response.request.headers
    return is_whole and _carries(response, token, header)


def _carries(response: Any, token: Token, header: ApiHeader) -> bool:
    return bool(response.request.headers.get(header.name) == value_of(header, token, proved=True))


def _challenges(response: Any) -> list[str]:
    return list(response.headers.get_list("WWW-Authenticate"))


def _with_token(request: Request, token: Token, header: ApiHeader, proof: str | None) -> Request:
    value = value_of(header, token, proved=proof is not None)
    if header.name.lower() == "authorization":
        request.headers[header.name] = value
    else:
        _set_once(request, header.name, value)
    if proof is not None:
        _set_once(request, PROOF, proof)
    return request


def _set_once(request: Any, name: str, value: str) -> None:
    known: Any = type(request.headers)
    request.headers = _once(getattr(known, "plain", known))(request.headers, name, value)


@cache
def _once(headers: Any) -> Any:
    """Return a class of headers that have one more header, which their copies lack.

    httpx copies the headers of a request for a redirect. To another origin it removes Authorization only, so a token in
    another header would go along.
    """

    class Once(headers):  # type: ignore[misc]
        plain = headers

        def __init__(self, others: Any, name: str, value: str) -> None:
            self._own = name.lower(), value
            super().__init__(others)
            if super().__contains__(name):
                del self[name]

        @property
        def raw(self) -> Any:
            return [*super().raw, (self._own[0].encode("ascii"), self._own[1].encode("ascii"))]

        def __contains__(self, name: object) -> bool:
            return str(name).lower() == self._own[0] or super().__contains__(name)

        def __getitem__(self, name: str) -> str:
            return self._own[1] if name.lower() == self._own[0] else str(super().__getitem__(name))

        def __repr__(self) -> str:  # httpx masks Authorization only
            return f"{super().__repr__()[:-1]} and {self._own[0]})"

    return Once


def awaitable(answer: Any) -> Any:
    """Return ``answer``, the result of a vault's method, if the caller can await it.

    Raises:
        RuntimeError: the vault is a `SyncVault`.
    """
    if not inspect.isawaitable(answer):
        _misused("an async client needs an async vault: open it with open_vault")
    return answer


def _immediate(answer: Any) -> Any:
    if inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()  # prevents Python's warning that the coroutine was never awaited
        _misused("a sync client needs a SyncVault: open it with open_sync_vault")
    return answer


def _misused(message: str) -> NoReturn:
    raise RuntimeError(message)
