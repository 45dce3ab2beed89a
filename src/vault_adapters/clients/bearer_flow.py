"""The authentication flow that the httpx and httpx2 modules share."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from vault_adapters.clients.access import value_of
from vault_adapters.clients.challenges import asking, refuse_asking, refuse_forbidden

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
            only, because the body has not been read yet. None: a response with status 401 rejects the token.
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
        self._rejected = rejected or _is_unauthorized
        self._replayable = replayable

    async def async_auth_flow(self, request: Request) -> AsyncGenerator[Request, Response]:
        """Authenticate a request of an async client."""
        self._check_named(request)
        token = await awaitable(self._vault.ensure_access_token(self._account))
        await self._check_told(request, token)
        header = await awaitable(self._vault.api_header(token))
        response = yield _signed(request, token, header)
        if _sent(response, token, header):
            refuse_forbidden(response.status_code, _challenges(response), self._account)
        if self._refused(response, token, header):
            with asking(_challenges(response), self._account):
                fresh = await awaitable(self._vault.report_rejected(token))
            if self._replayable(request):
                await self._check_told(request, fresh)
                response = yield _signed(request, fresh, header)
                if _sent(response, fresh, header):
                    refuse_asking(response.status_code, _challenges(response), self._account)

    def sync_auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        """Authenticate a request of a sync client."""
        self._check_named(request)
        token = _immediate(self._vault.ensure_access_token(self._account))
        self._check_told_now(request, token)
        header = _immediate(self._vault.api_header(token))
        response = yield _signed(request, token, header)
        if _sent(response, token, header):
            refuse_forbidden(response.status_code, _challenges(response), self._account)
        if self._refused(response, token, header):
            with asking(_challenges(response), self._account):
                fresh = _immediate(self._vault.report_rejected(token))
            if self._replayable(request):
                self._check_told_now(request, fresh)
                response = yield _signed(request, fresh, header)
                if _sent(response, fresh, header):
                    refuse_asking(response.status_code, _challenges(response), self._account)

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

    def _refused(self, response: Response, token: Token, header: ApiHeader) -> bool:
        return _sent(response, token, header) and self._rejected(response)


def _sent(response: Any, token: Token, header: ApiHeader) -> bool:
    # A request that was redirected to another origin lacks the token's header, so its response says nothing about the
    # token.
    return bool(response.request.headers.get(header.name) == value_of(header, token))


def _challenges(response: Any) -> list[str]:
    return list(response.headers.get_list("WWW-Authenticate"))


def _is_unauthorized(response: Any) -> bool:
    return bool(response.status_code == 401)


def _signed(request: Request, token: Token, header: ApiHeader) -> Request:
    value = value_of(header, token)
    if header.name.lower() == "authorization":
        request.headers[header.name] = value
    else:
        known: Any = type(request.headers)
        request.headers = _once(getattr(known, "plain", known))(request.headers, header.name, value)
    return request


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
            if name in others:
                del self[name]

        @property
        def raw(self) -> Any:
            return [*super().raw, (self._own[0].encode("ascii"), self._own[1].encode("ascii"))]

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
