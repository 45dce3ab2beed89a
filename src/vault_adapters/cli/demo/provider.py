"""A small OAuth server on the loopback interface; each of its refresh tokens works once."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

from vault_adapters.testing.loopback import served

_LONGEST_BODY = 64 * 1024


class LoopbackProvider:
    """Answers refresh requests (RFC 6749 section 6), and replaces the refresh token each time.

    Attributes:
        token_url: the URL of the token endpoint.
        requests: number of token requests.
        refused: number of token requests with a used or unknown refresh token.
    """

    def __init__(self, token_url: str) -> None:
        self.token_url = token_url
        self.requests = 0
        self.refused = 0
        self._live: set[str] = set()
        self._lock = threading.Lock()

    def issue(self) -> str:
        """Return a new refresh token, as after a user's consent."""
        token = "demo-refresh-" + secrets.token_urlsafe(18)
        with self._lock:
            self._live.add(token)
        return token

    def answer(self, form: dict[str, list[str]]) -> tuple[HTTPStatus, dict[str, Any]]:
        """Answer one token request."""
        [presented] = form.get("refresh_token") or [""]
        with self._lock:
            self.requests += 1
            if presented not in self._live:
                self.refused += 1
                return HTTPStatus.BAD_REQUEST, {"error": "invalid_grant"}
            self._live.discard(presented)
        access_token = "demo-access-" + secrets.token_urlsafe(18)
        return HTTPStatus.OK, {"access_token": access_token, "refresh_token": self.issue(), "expires_in": 3600}


@contextmanager
def loopback_provider() -> Iterator[LoopbackProvider]:
    """Run a provider on a free port until the block ends."""
    with served(_Handler, lambda address: LoopbackProvider(f"{address}/token")) as provider:
        yield provider


class _Handler(BaseHTTPRequestHandler):
    provider: LoopbackProvider

    def do_POST(self) -> None:
        """Answer a token request."""
        size = min(int(self.headers.get("Content-Length", 0)), _LONGEST_BODY)
        status, members = self.provider.answer(parse_qs(self.rfile.read(size).decode("ascii", "replace")))
        body = json.dumps(members).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Log nothing, because request lines would disturb the demonstration's output."""
