"""The server behind a scripted provider: threaded, speaks HTTP/1.1, can delay bodies and break connections."""

import math
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .answers import Answer, ReceivedRequest

# RFC 9110 forbids a Content-Length with 204; clients know that answers with these codes have no body.
_WITHOUT_BODY = (204, 304)

Respond = Callable[[ReceivedRequest], Answer]

_CHUNK_BYTES = 64 * 1024
# With this value of SO_LINGER, closing a socket sends RST instead of FIN.
_LINGER_NOT_AT_ALL = struct.pack("ii", 1, 0)


class ScriptedHttpServer(ThreadingHTTPServer):
    """Serves on a free port of loopback from its creation until `close`."""

    daemon_threads = False
    request_queue_size = 512

    def __init__(self, respond: Respond, report: Callable[[str], None], tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        if tls is not None:  # the handshake is the handler's, so that it holds up no other connection
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.respond = respond
        self._report = report
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        """Break off all connections and wait for the threads that served them."""
        self._closing.set()
        self.shutdown()
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self._thread.join()

    def pause(self, seconds: float) -> bool:
        """Wait, and tell whether the server still runs."""
        return not self._closing.wait(None if math.isinf(seconds) else seconds)

    def server_bind(self) -> None:
        """Bind without the base class's search for the host's full name, which may ask a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that closing can interrupt it."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection and close it. Do not shut it down if it is to be reset: a shutdown sends FIN."""
        with self._lock:
            self._connections.discard(request)
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER):
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error. Socket errors are not reported, because in many tests the client gives up."""
        error = sys.exception()
        if not isinstance(error, OSError):
            self._report(f"the server failed: {error!r}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ScriptedHttpServer

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *_: Any) -> None:
        """Log nothing, so that stderr has only the output of the tests."""

    def _serve(self) -> None:
        answer = self.server.respond(self._received())
        if not self.server.pause(answer.delay):
            self.close_connection = True
        elif answer.drop is not None and answer.drop_after is None:
            self._drop(answer.drop)
        else:
            self._send(answer)

    def _received(self) -> ReceivedRequest:
        return ReceivedRequest(
            method=self.command,
            target=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self._read_body(),
            received_at=datetime.now(UTC),
            received_monotonic=time.monotonic(),
        )

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            size = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(size)
            if len(body) < size:  # the client was killed while it sent; no server answers a part of a request
                raise ConnectionAbortedError
            return body
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        return b"".join(chunks)

    def _send(self, answer: Answer) -> None:
        body = answer.payload()
        self._send_head(answer, len(body))
        end = len(body) if answer.drop_after is None else answer.drop_after
        middle = end // 2 if answer.body_delay else end
        self._send_body(body[:middle], chunked=answer.chunked)
        if answer.body_delay:
            if not self.server.pause(answer.body_delay):
                self.close_connection = True
                return
            self._send_body(body[middle:end], chunked=answer.chunked)
        if answer.drop is not None:
            self._drop(answer.drop)
        elif answer.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _send_head(self, answer: Answer, length: int) -> None:
        framing = {"Transfer-Encoding": "chunked"} if answer.chunked else {"Content-Length": str(length)}
        if answer.status in _WITHOUT_BODY:
            framing = {}
        kind = {} if answer.json is None else {"Content-Type": "application/json"}
        overridden = {name.lower() for name in answer.headers}
        defaults = {"Date": self.date_time_string(), **framing, **kind}
        defaults = {name: value for name, value in defaults.items() if name.lower() not in overridden}
        self.send_response_only(answer.status)
        for name, value in {**defaults, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_body(self, part: bytes, *, chunked: bool) -> None:
        for start in range(0, len(part), _CHUNK_BYTES):
            piece = part[start : start + _CHUNK_BYTES]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)

    def _drop(self, how: str) -> None:
        self.close_connection = True
        if how == "rst":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
