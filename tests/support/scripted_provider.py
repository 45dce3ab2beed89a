"""A real HTTP server on loopback whose answers a test scripts, down to how the connection ends."""

import socket
import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .answers import (
    FOREVER,
    Answer,
    ReceivedRequest,
    endless_deflate,
    error_answer,
    gzip_bomb,
    oversized_answer,
    redirect_answer,
    token_answer,
)
from .scripted_http import ScriptedHttpServer

__all__ = [
    "FOREVER",
    "Answer",
    "ReceivedRequest",
    "ScriptedProvider",
    "endless_deflate",
    "error_answer",
    "gzip_bomb",
    "oversized_answer",
    "redirect_answer",
    "refused_url",
    "scripted_provider",
    "token_answer",
]

Responder = Answer | Callable[[ReceivedRequest], Answer]


class ScriptedProvider:
    """The script and the record of one server; safe to use from any thread."""

    def __init__(self, default: Responder | None, *, tls: ssl.SSLContext | None = None) -> None:
        self._default = default
        self._changed = threading.Condition()
        self._script: defaultdict[str | None, deque[Responder]] = defaultdict(deque)
        self._requests: list[ReceivedRequest] = []
        self._problems: list[str] = []
        self._scheme = "http" if tls is None else "https"
        self._server = ScriptedHttpServer(self._respond, self._problems.append, tls)

    @property
    def base_url(self) -> str:
        """Scheme, host and port, without a slash at the end."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    @property
    def token_url(self) -> str:
        """RFC 6749 token endpoint, by convention: every path is served alike."""
        return f"{self.base_url}/token"

    @property
    def revocation_url(self) -> str:
        """RFC 7009 revocation endpoint, by the same convention."""
        return f"{self.base_url}/revoke"

    @property
    def resource_url(self) -> str:
        """A resource, by the same convention."""
        return f"{self.base_url}/resource"

    @property
    def requests(self) -> list[ReceivedRequest]:
        """All requests so far, in the order in which they were completely read."""
        with self._changed:
            return list(self._requests)

    @property
    def unused(self) -> int:
        """Number of scripted answers that no request has used yet."""
        with self._changed:
            return sum(len(answers) for answers in self._script.values())

    def answer(self, *answers: Responder, path: str | None = None) -> None:
        """Script the next answers, each used once; answers for a `path` take precedence over answers for any path."""
        with self._changed:
            self._script[path].extend(answers)

    def answer_always(self, default: Responder | None) -> None:
        """Set the answer to requests after the end of the script; None makes such a request an error."""
        with self._changed:
            self._default = default

    def wait_for_requests(self, count: int, timeout: float = 10.0) -> list[ReceivedRequest]:
        """Wait until `count` requests were received in all, answered or not."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout):
                raise AssertionError(f"{len(self._requests)} of {count} requests came within {timeout} s")
            return list(self._requests)

    def close(self) -> None:
        """Break off running answers and free the port."""
        self._server.close()

    def check(self) -> None:
        """Raise if a request had no scripted answer, or if a function that makes answers raised an error."""
        if self._problems:
            raise AssertionError("; ".join(self._problems))

    def _respond(self, request: ReceivedRequest) -> Answer:
        with self._changed:
            self._requests.append(request)
            responder = self._next(request.path)
            self._changed.notify_all()
        if isinstance(responder, Answer):
            return responder
        try:
            if responder is None:
                raise LookupError("nothing scripted")
            return responder(request)
        except Exception as error:
            self._problems.append(f"{request.method} {request.path}: {error!r}")
            return Answer(status=500, body=b"the test's script failed")

    def _next(self, path: str) -> Responder | None:
        for queue in (self._script[path], self._script[None]):
            if queue:
                return queue.popleft()
        return self._default


@contextmanager
def scripted_provider(default: Responder | None = None) -> Iterator[ScriptedProvider]:
    """Serve until the end of the block, and run `check` then."""
    provider = ScriptedProvider(default)
    try:
        yield provider
    finally:
        provider.close()
    provider.check()


@contextmanager
def refused_url() -> Iterator[str]:
    """Give a URL whose port refuses connections and stays reserved until the end of the block."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/token"
