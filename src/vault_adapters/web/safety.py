"""Keeps the pages safe in browsers: by headers of each response, and by a proof that a form is from the dashboard."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "token_vault_form"

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Under a stricter policy, browsers would hide the origin of a form's request, which `is_same_origin` checks.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "noindex, nofollow",
}


class SafeHeaders:
    """Adds the security headers to every response of an application, error pages included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_safely)


def cookie_secret(request: Request, cookie: str) -> tuple[str, bool]:
    """Return the secret in this browser's cookie, or else a new secret; and whether the secret is new."""
    known = request.cookies.get(cookie, "")
    if len(known) == 43 and known.isascii() and known.replace("-", "").replace("_", "").isalnum():
        return known, False
    return secrets.token_urlsafe(32), True


def keep_secret(response: Response, request: Request, cookie: str, secret: str, *, path: str, strict: bool) -> None:
    """Set a cookie that no script can read.

    Args:
        response: the response that sets the cookie.
        request: the request; over HTTPS, the cookie is for HTTPS only.
        cookie: the cookie's name.
        secret: the cookie's value.
        path: the prefix of the paths to which browsers send the cookie.
        strict: if True, browsers send the cookie only with requests that begin on this site; if False, also when a
            link or a redirection of another site leads to a page.
    """
    response.set_cookie(
        cookie,
        secret,
        path=path,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict" if strict else "lax",
    )


def form_proof(secret: str, parts: Sequence[str]) -> str:
    """Return the proof for a form with these parts; another browser's secret or other parts give another proof."""
    text = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def is_proved(request: Request, proof: str, parts: Sequence[str]) -> bool:
    """Return whether a form was sent by a page that this browser got from this dashboard."""
    secret, is_new = cookie_secret(request, COOKIE)
    wanted = form_proof(secret, parts)
    return not is_new and hmac.compare_digest(proof.encode(), wanted.encode()) and is_same_origin(request)


def is_same_origin(request: Request) -> bool:
    """Return whether the request's headers name no other origin; no page of another site can forge these headers.

    Sec-Fetch-Site counts first, because a proxy may change the host that Origin is compared with. If both headers are
    missing, as in requests of an old browser, the result is True, so the proof must be checked too.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # no browser sends such an origin
        return False
