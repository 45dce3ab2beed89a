"""A TCP proxy between a vault and its Postgres that breaks the connection in the ways that networks do.

It runs on an event loop in a thread of its own, so that it serves while the test waits.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

T = TypeVar("T")

_BYTES: Final = 64 * 1024
# With this value of SO_LINGER, closing a socket sends RST instead of FIN.
_LINGER_NOT_AT_ALL: Final = struct.pack("ii", 1, 0)


class _Link:
    """One client's connection and the server's end of it."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.silent = False

    def writers(self) -> list[asyncio.StreamWriter]:
        return [self.client] if self.server is None else [self.client, self.server]

    def reset(self) -> None:
        for writer in self.writers():
            with suppress(OSError):
                plain = writer.get_extra_info("socket")
                if plain.family in (socket.AF_INET, socket.AF_INET6):
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
            writer.transport.abort()


class FaultProxy:
    """One listening port for one server; every method takes effect at once and may be called from any thread.

    Args:
        url: the database's URL; it may name a host and a port, or the folder of a Unix socket.
    """

    def __init__(self, url: str) -> None:
        self._upstream: Final = _address(url)
        self._url: Final = url
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._delay = 0.0
        self._pieces = 0
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self._port = 0
        self._port = self._run(self._listen())

    @property
    def url(self) -> str:
        """The database's URL through this proxy."""
        parts = urlsplit(self._url)
        user = parts.netloc.rpartition("@")[0]
        return parts._replace(
            netloc=f"{user}@127.0.0.1:{self._port}" if user else f"127.0.0.1:{self._port}", query=""
        ).geturl()

    @property
    def connections(self) -> int:
        """The number of connections that go through now, the silent ones included."""
        return len(self._links)

    @property
    def pieces(self) -> int:
        """The number of pieces of data that have come from either side."""
        return self._pieces

    def freeze(self) -> None:
        """Keep all connections and take new ones, but forward nothing in either direction."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def silence(self) -> None:
        """Let the existing connections hang for ever, without a sign to either side; new ones work."""
        self._call(self._silence)

    def reset(self) -> None:
        """Reset all existing connections (RST)."""
        self._call(self._reset)

    def slow(self, seconds: float) -> None:
        """Delay each piece of data by so many seconds, in each direction."""
        self._delay = seconds

    def refuse(self) -> None:
        """Refuse new connections, and reset the existing ones."""
        self._run(self._refuse())

    def heal(self) -> None:
        """Pass everything again, on the same port; what was frozen goes on, what was silenced stays silent."""
        self._run(self._heal())

    def close(self) -> None:
        """End all connections, the port and the thread."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def _call(self, function: Any) -> None:
        async def call() -> None:
            function()

        self._run(call())

    async def _listen(self) -> int:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self._port, reuse_address=True)
        return int(self._listener.sockets[0].getsockname()[1])

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._reset()

    async def _heal(self) -> None:
        self._delay = 0.0
        self._flowing.set()
        if self._listener is None:
            await self._listen()

    async def _close(self) -> None:
        await self._refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _silence(self) -> None:
        for link in self._links:
            link.silent = True

    def _reset(self) -> None:
        for link in self._links:
            link.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        link = _Link(writer)
        self._links.add(link)
        try:
            await self._flowing.wait()
            server_reader, link.server = await self._connect()
            await self._join(link, reader, server_reader)
        except (OSError, asyncio.CancelledError):
            pass  # the server is down, or the proxy closes: the client sees a reset
        finally:
            self._links.discard(link)
            self._tasks.discard(task)
            link.reset()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._upstream, Path):
            return await asyncio.open_unix_connection(self._upstream)
        return await asyncio.open_connection(*self._upstream)

    async def _join(self, link: _Link, reader: asyncio.StreamReader, server_reader: asyncio.StreamReader) -> None:
        assert link.server is not None
        pumps = [
            asyncio.ensure_future(self._pump(link, reader, link.server)),
            asyncio.ensure_future(self._pump(link, server_reader, link.client)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if link.silent:
                await asyncio.Event().wait()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_BYTES):
            self._pieces += 1
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._flowing.wait()
            if link.silent:
                await asyncio.Event().wait()
            writer.write(piece)
            await writer.drain()


@contextmanager
def fault_proxy(url: str) -> Iterator[FaultProxy]:
    """Run a proxy to the database of this URL until the end of the block."""
    proxy = FaultProxy(url)
    try:
        yield proxy
    finally:
        proxy.close()


def _address(url: str) -> Path | tuple[str, int]:
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    port = int(query.get("port", [str(parts.port or 5432)])[0])
    host = query.get("host", [unquote(parts.hostname or "127.0.0.1")])[0]
    return Path(host) / f".s.PGSQL.{port}" if host.startswith("/") else (host, port)
