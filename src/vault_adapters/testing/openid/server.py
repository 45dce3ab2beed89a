"""Serves a loopback provider over HTTP, with a page on which a user agrees or refuses."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlencode, urlsplit

from vault_adapters.testing.loopback import served
from vault_adapters.testing.openid.provider import LoopbackOpenIdProvider

_LONGEST_BODY = 64 * 1024
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Loopback provider</title>
<style>body{{font:1.1rem system-ui;max-width:30rem;margin:4rem auto}}a{{display:block;padding:.7rem;margin:.5rem 0;
border:1px solid #888;border-radius:.5rem;text-decoration:none;color:inherit}}</style>
<h1>Loopback provider</h1><p>An application wants to use your account: {scope}</p>{links}</html>"""


@contextmanager
def openid_provider(
    make: Callable[[str], LoopbackOpenIdProvider] = LoopbackOpenIdProvider, *, port: int = 0
) -> Iterator[LoopbackOpenIdProvider]:
    """Run a provider on 127.0.0.1 until the block ends.

    Args:
        make: makes the provider for an issuer identifier.
        port: the port; 0 takes a free one.
    """
    with served(_Handler, make, port=port) as provider:
        yield provider


class _Handler(BaseHTTPRequestHandler):
    provider: LoopbackOpenIdProvider

    def do_GET(self) -> None:
        """Answer a browser, or a request for the discovery document, the keys or the claims about a user."""
        parts = urlsplit(self.path)
        if parts.path == "/.well-known/openid-configuration":
            self._json(200, self.provider.metadata())
        elif parts.path == "/jwks":
            self._json(200, self.provider.keys())
        elif parts.path == "/userinfo":
            found = self.provider.userinfo(self.headers.get("Authorization", ""))
            self._json(401 if found is None else 200, found or {"error": "invalid_token"})
        elif parts.path == "/authorize":
            self._authorize(dict(parse_qsl(parts.query)))
        else:
            self._json(404, {})

    def do_POST(self) -> None:
        """Answer a token request."""
        size = min(int(self.headers.get("Content-Length", 0)), _LONGEST_BODY)
        form = dict(parse_qsl(self.rfile.read(size).decode("ascii", "replace")))
        self._json(*self.provider.token(form, self.headers.get("Authorization", "")))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Log nothing, because request lines hold codes."""

    def _authorize(self, request: dict[str, str]) -> None:
        answer = request.pop("answer", request.get("login_hint", ""))
        error = self.provider.check(request)
        user = next((user for user in self.provider.users if answer == user.email), None)
        if error is not None and not request.get("redirect_uri"):
            self._json(400, {"error": error})
        elif error is not None or answer == "deny":
            self._send_back(request, self.provider.denial(error or "access_denied", request))
        elif user is not None:
            self._send_back(request, self.provider.consent(user, request))
        else:
            self._ask(request)

    def _ask(self, request: dict[str, str]) -> None:
        answers = [*((user.email, f"Continue as {user.name}") for user in self.provider.users), ("deny", "Cancel")]
        links = "".join(
            f'<a href="/authorize?{html.escape(urlencode({**request, "answer": answer}))}">{html.escape(text)}</a>'
            for answer, text in answers
        )
        page = _PAGE.format(scope=html.escape(request.get("scope", "")), links=links)
        self._answer(200, page.encode(), "text/html; charset=utf-8")

    def _send_back(self, request: dict[str, str], parameters: dict[str, str]) -> None:
        separator = "&" if "?" in request["redirect_uri"] else "?"
        location = f"{request['redirect_uri']}{separator}{urlencode(parameters)}"
        self._answer(302, b"", "text/plain", {"Location": location})

    def _json(self, status: int, members: object) -> None:
        self._answer(status, json.dumps(members).encode(), "application/json")

    def _answer(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        fixed = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        for name, value in {**fixed, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
