"""The answers of a scripted provider, and the requests that it received."""

import base64
import json as json_module
import math
import zlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote_plus, urlsplit

from attrs import Factory, evolve, frozen

FOREVER = math.inf
_MEBIBYTE = 1024 * 1024


@frozen
class ReceivedRequest:
    """A request as it came in; header names are in lower case.

    Attributes:
        received_at: time, in UTC, at which the whole request had been read.
        received_monotonic: the same moment on `time.monotonic`, for measuring intervals.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime
    received_monotonic: float

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query's parameters."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        """The body's parameters; a name that came twice is an error here as it is in RFC 6749."""
        pairs = parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=bool(self.body))
        form = dict(pairs)
        if len(form) != len(pairs):
            raise ValueError("a parameter came more than once")
        return form

    @property
    def basic_auth(self) -> tuple[str, str] | None:
        """Client id and secret of the Authorization header, decoded by RFC 6749 section 2.3.1."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        client_id, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
        return unquote_plus(client_id), unquote_plus(secret)


@frozen(kw_only=True)
class Answer:
    """One answer. `json` and `body` exclude each other.

    Attributes:
        headers: headers to add or to replace, Content-Length included.
        chunked: send the body in chunks, without a Content-Length.
        delay: seconds between the request and the first byte of the answer; FOREVER: until the provider is closed.
        body_delay: seconds to pause in the middle of the body.
        drop: close the connection normally (`fin`) or reset it (`rst`) instead of answering.
        drop_after: with `drop`, send the headers and this many bytes of the body first.
    """

    status: int = 200
    json: Any = None
    body: bytes = b""
    headers: Mapping[str, str] = Factory(dict)
    chunked: bool = False
    delay: float = 0.0
    body_delay: float = 0.0
    drop: Literal["fin", "rst"] | None = None
    drop_after: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.json is not None and self.body:
            raise ValueError("an answer has either json or body")
        if self.drop_after is not None and self.drop is None:
            raise ValueError("drop_after requires drop")

    def payload(self) -> bytes:
        """Return the body's bytes."""
        return self.body if self.json is None else json_module.dumps(self.json).encode()

    def with_headers(self, **headers: str) -> "Answer":
        """Return the same answer with more headers; the argument `Retry_After` sets the header `Retry-After`."""
        added = {name.replace("_", "-"): value for name, value in headers.items()}
        return evolve(self, headers={**self.headers, **added})


def token_answer(access_token: str, refresh_token: str | None = None, **members: Any) -> Answer:
    """Return a token response of RFC 6749 section 5.1, valid for an hour unless `expires_in` says otherwise."""
    tokens = {"access_token": access_token, "token_type": "Bearer", "expires_in": 3600}
    if refresh_token is not None:
        tokens["refresh_token"] = refresh_token
    return Answer(json={**tokens, **members})


def error_answer(error: str, *, status: int = 400, description: str | None = None) -> Answer:
    """Return an error response of RFC 6749 section 5.2."""
    described = {} if description is None else {"error_description": description}
    return Answer(status=status, json={"error": error, **described})


def redirect_answer(location: str, *, status: int = 302) -> Answer:
    """Return a redirect."""
    return Answer(status=status, headers={"Location": location})


def gzip_bomb(mebibytes: int = 64, *, status: int = 200) -> Answer:
    """Return a small compressed body that unpacks to `mebibytes` MiB of spaces, which a JSON parser skips."""
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    return Answer(status=status, headers=headers, body=_compressed_spaces(mebibytes))


def endless_deflate(body: bytes, blocks: int = 60_000) -> Answer:
    """Return a deflate stream of ``blocks`` empty blocks of five bytes each, followed by ``body``."""
    packed = b"\x78\x9c" + b"\x00\x00\x00\xff\xff" * blocks
    packed += b"\x01" + len(body).to_bytes(2, "little") + (len(body) ^ 0xFFFF).to_bytes(2, "little") + body
    packed += zlib.adler32(body).to_bytes(4)
    return Answer(headers={"Content-Encoding": "deflate", "Content-Type": "application/json"}, body=packed)


def oversized_answer(mebibytes: int = 10, *, status: int = 200, chunked: bool = False) -> Answer:
    """Return a body of `mebibytes` MiB that starts like a token response."""
    body = b'{"access_token":"' + b"x" * (mebibytes * _MEBIBYTE)
    return Answer(status=status, headers={"Content-Type": "application/json"}, body=body, chunked=chunked)


@lru_cache(maxsize=2)
def _compressed_spaces(mebibytes: int) -> bytes:
    """Return the gzip form of that many spaces; each mebibyte is compressed to the same bytes, so only one is."""
    spaces = b" " * _MEBIBYTE
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(spaces) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(mebibytes):
        checksum = zlib.crc32(spaces, checksum)
    trailer = checksum.to_bytes(4, "little") + (mebibytes * _MEBIBYTE).to_bytes(4, "little")
    return b"\x1f\x8b\x08" + bytes(5) + b"\x02\xff" + packed * mebibytes + packer.flush() + trailer
