"""The authentication flow that the httpx and httpx2 modules share."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from vault_adapters.clients.access import bearer

if TYPE_CHECKING:
    from vault_adapters.clients.access import AccessTokens, SyncAccessTokens
    from vault_domain.entities.account import Account
    from vault_domain.entities.token import Token

Request = TypeVar("Request", bound=Any)
Response = TypeVar("Response", bound=Any)


class BearerFlow(Generic[Request, Response]):
    """Sends requests with a token; if a response rejects it, reports that and repeats the request with the next token.

    Args:
        vault: a `TokenVault` for async clients, a `SyncVault` for sync ones.
        account: the account whose token is sent.
        rejected: function that returns whether a response rejects the token; None: status 401 does. It sees status
            and headers only, because the body has not been read yet.
        replayable: function that returns whether a request can be sent again.
    """

    def __init__(
        self,
        vault: AccessTokens | SyncAccessTokens,
        account: Account,
        rejected: Callable[[Response], bool] | None,
        replayable: Callable[[Request], bool],
    ) -> None:
        self._vault: Any = vault
        self._account = account
        self._rejected = rejected or _is_unauthorized
        self._replayable = replayable

    async def async_auth_flow(self, request: Request) -> AsyncGenerator[Request, Response]:
        """Authenticate a request of an async client."""
        token = await _awaitable(self._vault.ensure_access_token(self._account))
        response = yield _signed(request, token)
        if self._refused(response, token):
            fresh = await _awaitable(self._vault.report_rejected(token))
            if self._replayable(request):
                yield _signed(request, fresh)

    def sync_auth_flow(self, request: Request) -> Generator[Request, Response, None]:
        """Authenticate a request of a sync client."""
        token = _immediate(self._vault.ensure_access_token(self._account))
        response = yield _signed(request, token)
        if self._refused(response, token):
            fresh = _immediate(self._vault.report_rejected(token))
            if self._replayable(request):
                yield _signed(request, fresh)

    def _refused(self, response: Response, token: Token) -> bool:
        # A request that was redirected to another origin lacks the header, and its answer says nothing about the token.
        sent = response.request.headers.get("Authorization") == bearer(token)
        return sent and self._rejected(response)


def _is_unauthorized(response: Any) -> bool:
    return bool(response.status_code == 401)


def _signed(request: Request, token: Token) -> Request:
    request.headers["Authorization"] = bearer(token)
    return request


def _awaitable(answer: Any) -> Any:
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
