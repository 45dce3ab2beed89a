"""Admits one browser to a dashboard that a person has started: the first browser that opens a one-time link."""

from __future__ import annotations

import hmac
import secrets
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from vault_adapters.web.safety import SafeHeaders

OPEN = "/open"


class OneTimeDoor:
    """Serves an application only to the browser that has opened the one-time link.

    Args:
        app: the application.
        hosts: the values of the header Host that browsers send to this server. Any other value is refused, because
            the owner of another site may point its host name to the address of this machine (DNS rebinding).
        cookie: name of the session cookie. Servers on different ports need different names, because browsers send the
            cookies of one port to all ports.

    Attributes:
        path: the path of the one-time link, with its key.
    """

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str], cookie: str) -> None:
        self._app = app
        self._hosts = hosts
        self._cookie = cookie
        self._key: str | None = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)
        self.path = f"{OPEN}?key={self._key}"
        self._serve = SafeHeaders(self._inspect)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        await self._serve(scope, receive, send)

    async def _inspect(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = self._answer(request)
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _answer(self, request: Request) -> Response | None:
        """Return the response of the door itself; None if the request may pass to the application."""
        if request.headers.get("host", "").lower() not in self._hosts:
            return _plain(HTTPStatus.MISDIRECTED_REQUEST, "The header Host does not name this server.")
        if request.url.path == OPEN and request.method == "GET":
            return self._open(request.query_params.get("key", ""))
        if not hmac.compare_digest(request.cookies.get(self._cookie, "").encode(), self._session.encode()):
            return _plain(HTTPStatus.FORBIDDEN, "Open the link that `token-vault dashboard` has printed.")
        return None

    def _open(self, key: str) -> Response:
        if self._key is None or not hmac.compare_digest(key.encode(), self._key.encode()):
            used = "This link is wrong, or it was used already. Start `token-vault dashboard` again for a new link."
            return _plain(HTTPStatus.FORBIDDEN, used)
        self._key = None
        response = RedirectResponse("/", status_code=HTTPStatus.SEE_OTHER)
        response.set_cookie(self._cookie, self._session, path="/", httponly=True, samesite="strict")
        return response


def _plain(status: HTTPStatus, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status)
