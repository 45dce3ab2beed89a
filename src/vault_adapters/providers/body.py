"""Reads an answer's body within a bound, however it is encoded."""

import zlib
from contextlib import aclosing
from typing import Any, Protocol

MAX_BODY_BYTES = 256 * 1024
"""The most that is read of an answer, before and after decompression."""

_COMPRESSED = {"gzip", "x-gzip", "deflate"}


class _Decoder(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Identity:
    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return data[:max_length]


async def read_body(response: Any) -> bytes | None:
    """Return the body of a streamed httpx or httpx2 response; None where it is too large or cannot be decoded.

    The library's own decoders are not used: they unpack each chunk whole, which a gzip bomb needs. The request asks
    for no encoding at all, but a refresh token in an answer that is packed all the same must not be lost.
    """
    if response.is_stream_consumed:  # by an event hook of the host's client
        content: bytes = response.content
        return content if len(content) <= MAX_BODY_BYTES else None
    decoder = _decoder(response.headers.get("content-encoding", ""))
    return None if decoder is None else await _read(response, decoder)


async def _read(response: Any, decoder: _Decoder) -> bytes | None:
    body = bytearray()
    received = 0
    async with aclosing(response.aiter_raw()) as chunks:
        async for chunk in chunks:
            received += len(chunk)
            piece = _decode(decoder, chunk, MAX_BODY_BYTES + 1 - len(body))
            if piece is None:
                return None
            body += piece
            if max(received, len(body)) > MAX_BODY_BYTES:
                return None
    return bytes(body)


def _decode(decoder: _Decoder, chunk: bytes, most: int) -> bytes | None:
    try:
        return decoder.decompress(chunk, most)
    except zlib.error:
        return None


def _decoder(encoding: str) -> _Decoder | None:
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return _Identity()
    # 32 added to the window size lets zlib tell gzip and zlib framing apart.
    return zlib.decompressobj(zlib.MAX_WBITS | 32) if name in _COMPRESSED else None
