"""Runs stand-ins for providers as HTTP servers on the loopback interface."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.02


@contextmanager
def served(handler: type[BaseHTTPRequestHandler], make: Callable[[str], T], *, port: int = 0) -> Iterator[T]:
    """Run a server on 127.0.0.1 until the block ends; the block gets what ``make`` returned.

    Args:
        handler: class that answers the requests; its attribute ``provider`` is what ``make`` returned.
        make: makes the stand-in for a provider, given the server's address, such as ``http://127.0.0.1:8123``.
        port: the port; 0 takes a free one.
    """
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    provider = make(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass = type("_BoundHandler", (handler,), {"provider": provider})
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="loopback-server", daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
