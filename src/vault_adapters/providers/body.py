"""Reads and decompresses the body of a provider's answer, up to a size limit."""

import json
import re
import zlib
from contextlib import aclosing
from typing import Any, Protocol

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Largest size of a body in bytes, before and after decompression."""

_GUARD = re.compile(rb"\s*(?:\)\]\}',?|while\s*\(1\);?|for\s*\(;;\);?)\s*(?=\{)")
"""What some servers put before JSON, so that no page of another site can run it as a script (XSSI)."""

_COMPRESSED = {"gzip", "x-gzip", "deflate"}


class _Decoder(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Identity:
    eof = True  # an uncompressed body has no checksum; see `Body.complete_object`

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return data[:max_length]


class Body:
    """The body of a streamed httpx or httpx2 response.

    It does not use the library's decoders, because they decompress each chunk completely, and a gzip bomb exploits
    that. The request asks for an uncompressed answer. A compressed answer is decoded too, so that its refresh token is
    not lost.
    """

    def __init__(self, response: Any) -> None:
        self._response = response
        self._decoder = _decoder(response.headers.get("content-encoding", ""))
        self._arrived = bytearray()

    async def read(self) -> bytes | None:
        """Return the body; None if it is too large or cannot be decoded."""
        if self._response.is_stream_consumed:  # an event hook of the host's client has read the body
            content: bytes = self._response.content
            return content if len(content) <= MAX_BODY_BYTES else None
        return None if self._decoder is None else await self._read(self._decoder)

    def complete_object(self) -> bytes | None:
        """Return the bytes that arrived before the connection broke; None if they are not a complete JSON object.

        A JSON object shows its own end, so the end of the body need not have arrived. A compressed body must be
        complete, because its checksum is at its end.
        """
        arrived = bytes(self._arrived)
        is_checked = self._decoder is not None and self._decoder.eof
        return arrived if is_checked and _is_object(arrived) else None

    async def _read(self, decoder: _Decoder) -> bytes | None:
        body, received = self._arrived, 0
        async with aclosing(self._response.aiter_raw()) as chunks:
            async for chunk in chunks:
                received += len(chunk)
                piece = _decode(decoder, chunk, MAX_BODY_BYTES + 1 - len(body))
                body += piece or b""
                if piece is None or max(received, len(body)) > MAX_BODY_BYTES:
                    body.clear()
                    return None
        return bytes(body)


def without_guard(body: bytes) -> bytes:
    """Return a body without the guard before its JSON object, if it has one."""
    guard = _GUARD.match(body)
    return body if guard is None else body[guard.end() :]


def _is_object(body: bytes) -> bool:
    body = without_guard(body)
    if not body.strip().startswith(b"{"):
        return False
    try:
        json.loads(body, parse_int=float)  # int refuses thousands of digits
    except (ValueError, RecursionError):  # the error holds the body
        # Raise no other error here, because Python would attach this error to it.
        return False
    return True


def _decode(decoder: _Decoder, chunk: bytes, most: int) -> bytes | None:
    try:
        return decoder.decompress(chunk, most)
    except zlib.error:
        return None


def _decoder(encoding: str) -> _Decoder | None:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return _Identity()
    # 32 added to the window size lets zlib detect gzip and zlib framing.
    return zlib.decompressobj(zlib.MAX_WBITS | 32) if name in _COMPRESSED else None
