"""Reads and decompresses an answer's body, up to a size limit."""

import zlib
from contextlib import aclosing
from typing import Any, Protocol

MAX_BODY_BYTES = 1024 * 1024
"""Largest size of an answer in bytes, before and after decompression; two tokens of 64 KiB fit, even if escaped."""

_COMPRESSED = {"gzip", "x-gzip", "deflate"}


class _Decoder(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Identity:
    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return data[:max_length]


async def read_body(response: Any) -> bytes | None:
    """Return the body of a streamed httpx or httpx2 response; None if it is too large or cannot be decoded.

    It does not use the library's decoders, because they decompress each chunk completely, and a gzip bomb exploits
    that. The request asks for an uncompressed answer. A compressed one is decoded too, so that a refresh token is not
    lost.
    """
    if response.is_stream_consumed:  # an event hook of the host's client has read the body
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
    # 32 added to the window size lets zlib detect gzip and zlib framing.
    return zlib.decompressobj(zlib.MAX_WBITS | 32) if name in _COMPRESSED else None
