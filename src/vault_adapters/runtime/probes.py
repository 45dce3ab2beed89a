"""A small HTTP server for an orchestrator's probes and for metrics; it answers GET and HEAD for fixed paths only."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address

from attrs import frozen

_log = logging.getLogger(__name__)

_MOST_CLIENTS = 32
"""Largest number of open connections; a further connection ends the oldest one."""

_MOST_BYTES = 8192
"""Largest size of a request's head, in bytes."""

_REQUEST_SECONDS = 5.0
"""Longest time for a request to arrive, and again for the client to take the answer."""

_ANSWER_SECONDS = 15.0
"""Longest time to make an answer."""

_TEXT = "text/plain; charset=utf-8"

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


_HOST = re.compile(rb"\r\nhost:[ \t]*([^\r\n]*?)(?::[0-9]{1,5})?[ \t]*\r\n", re.IGNORECASE)
"""The header Host, without the port."""


@frozen
class Answer:
    """The answer to a request.

    Attributes:
        body: the body of the answer.
        status: the HTTP status.
        content_type: the type of the body.
    """

    body: bytes
    status: int = 200
    content_type: str = _TEXT


Routes = Mapping[str, Callable[[], Awaitable[Answer]]]
"""By path, the function that makes the answer to a request."""


@asynccontextmanager
async def serving(host: str, port: int, routes: Routes) -> AsyncIterator[int]:
    """Serve HTTP until the block ends; yield the port.

    Each connection takes one request. No part of a request is logged or sent back. Slow clients do not block the
    server, because the number of connections and the time of each are limited.

    Args:
        host: the address or name of the interface. On loopback, a request whose header Host names another host gets the
            status 421, because the owner of a site may point its name to this machine (DNS rebinding).
        port: the port; 0: any free port.
        routes: the paths to serve; any other path gets the status 404.

    Raises:
        OSError: the address cannot be used.
    """
    clients = _Clients(routes, loopback_only=_is_loopback(host))
    server = await asyncio.start_server(clients.serve, host, port, limit=_MOST_BYTES)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        clients.abort()


class _Clients:
    def __init__(self, routes: Routes, *, loopback_only: bool) -> None:
        self._routes = routes
        self._loopback_only = loopback_only
        self._open: OrderedDict[asyncio.StreamWriter, None] = OrderedDict()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= _MOST_CLIENTS:
            oldest, _ = self._open.popitem(last=False)
            oldest.transport.abort()
        self._open[writer] = None
        try:
            with suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()  # has no effect if the client has taken the whole answer

    def abort(self) -> None:
        """End all connections."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            head = b""
        method, answer = await self._made(head)
        lines = [
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(answer.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if method == b"HEAD" else answer.body))
        async with asyncio.timeout(_REQUEST_SECONDS):
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def _made(self, head: bytes) -> tuple[bytes, Answer]:
        line = head.split(b"\r\n", 1)[0].split(b" ")
        if len(line) != 3 or not line[2].startswith(b"HTTP/1."):
            return b"", Answer(b"bad request\n", 400)
        method, target, _ = line
        if method not in (b"GET", b"HEAD"):
            return method, Answer(b"only GET and HEAD\n", 405)
        named = _HOST.search(head)
        if self._loopback_only and named is not None and not _is_loopback(named[1].decode("latin-1")):
            return method, Answer(b"the header Host does not name this server\n", 421)
        make = self._routes.get(target.split(b"?", 1)[0].decode("latin-1"))
        if make is None:
            return method, Answer(b"not found\n", 404)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return method, await make()
        except Exception as error:
            # Log neither the error's text nor its traceback, because they may hold secrets.
            _log.error("the request to a probe or to the metrics failed with %s", type(error).__qualname__)
            return method, Answer(b"error\n", 500)


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
