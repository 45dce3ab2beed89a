"""Receives one callback on this machine, for programs that have no web server (RFC 8252 section 7.3)."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

from vault_domain.entities.errors import StateRefusedError

_PATH = "/callback"
_LONGEST_LINE = 64 * 1024
_READ_SECONDS = 10.0
_TEXT = "The answer has arrived. Go back to the terminal, which says what was stored."


class LoopbackCallback:
    """Waits on 127.0.0.1 for the browser to come back; made by `loopback_callback`.

    Attributes:
        redirect_uri: the address of this server, which is the redirect URI to give to a `Connector`.
    """

    def __init__(self) -> None:
        self.redirect_uri = ""
        self._state: str | None = None
        self._query: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait(self, state: str, lifetime: timedelta) -> str:
        """Return the query of the callback that has this state; callbacks with other states are refused.

        Raises:
            StateRefusedError: none has come in time (reason ``expired``).
        """
        self._state = state
        with suppress(TimeoutError):
            async with asyncio.timeout(lifetime.total_seconds()):
                return await self._query
        raise StateRefusedError(reason="expired")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        # Whatever cannot be read gets no answer.
        with closing(writer), suppress(TimeoutError, ValueError, ConnectionError):
            async with asyncio.timeout(_READ_SECONDS):
                line = await reader.readline()
                while await reader.readline() not in (b"\r\n", b"\n", b""):
                    pass
            status, text = self._answer(line.decode("ascii"))
            head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n"
            safe = "Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n"
            writer.write(f"{head}{safe}{text}".encode())
            await writer.drain()

    def _answer(self, line: str) -> tuple[str, str]:
        """Return status and text of the answer to a request."""
        method, _, rest = line.partition(" ")
        target = urlsplit(rest.partition(" ")[0])
        if method != "GET" or target.path != _PATH:
            return "404 Not Found", "There is nothing here."
        # A page of another site may send the browser here. It cannot know the state, so it ends nothing.
        given = parse_qs(target.query, max_num_fields=100).get("state", [])
        if self._state is None or len(given) != 1 or not hmac.compare_digest(given[0].encode(), self._state.encode()):
            return "400 Bad Request", "This answer belongs to no connection that was begun here."
        if not self._query.done():
            self._query.set_result(target.query)
        return "200 OK", _TEXT


@asynccontextmanager
async def loopback_callback(port: int = 0) -> AsyncIterator[LoopbackCallback]:
    """Listen on 127.0.0.1 until the block ends.

    Args:
        port: the port; 0 takes a free one.

    Raises:
        OSError: the port cannot be used.
    """
    callback = LoopbackCallback()
    server = await asyncio.start_server(callback.serve, "127.0.0.1", port, limit=_LONGEST_LINE)
    callback.redirect_uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{_PATH}"
    try:
        yield callback
    finally:
        server.close()  # without waiting for connections that a browser has opened in advance
