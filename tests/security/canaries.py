"""Canaries: secrets that can be found in every form in which they may leave the vault.

All canaries begin and end with the same two marks, so that a search for all of them, in every encoding, is a search for
some forty constant byte strings.
"""

import base64
import secrets
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

# These bytes look different in the two alphabets of base64, and URLs escape some of them.
_MARKS = (b"cAnA~?>y", b"Y<~?zAnc")


def make_canaries(count: int) -> list[str]:
    """Return canaries of different lengths, so that their ends fall on every offset of base64."""
    begin, end = (mark.decode() for mark in _MARKS)
    return [f"{begin}{number:04d}-{secrets.token_urlsafe(12 + number % 3)}{end}" for number in range(count)]


def _base64_forms(mark: bytes) -> Iterator[bytes]:
    for offset in range(3):
        # The bytes before and after the mark change the characters at its edges, so these characters are left out.
        encoded = base64.b64encode(bytes(offset) + mark + bytes(2))
        begin = {0: 0, 1: 2, 2: 3}[offset]
        end = (offset + len(mark)) * 8 // 6
        yield encoded[begin:end]


def _forms(mark: bytes) -> Iterator[bytes]:
    text = mark.decode()
    yield mark
    yield mark[::-1]
    yield mark.hex().encode()
    yield mark.hex().upper().encode()
    yield b"\\x".join([b"", *(b"%02x" % byte for byte in mark)])
    yield text.encode("utf-16-le")
    yield text.encode("utf-16-be")
    for escaped in (quote(text, safe=""), quote_plus(text), "".join(f"%{byte:02X}" for byte in mark)):
        yield escaped.encode()
        yield escaped.lower().encode()
        yield escaped.replace("%7E", "~").encode()
    for form in _base64_forms(mark):
        yield form
        yield form.replace(b"+", b"-").replace(b"/", b"_")
        yield form[::-1]


NEEDLES: tuple[bytes, ...] = tuple(dict.fromkeys(form for mark in _MARKS for form in _forms(mark)))


def leaks_in(data: bytes | str) -> list[str]:
    """Return the forms of marks that the data contains, each with the bytes around it."""
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    found = []
    for needle in NEEDLES:
        at = data.find(needle)
        if at >= 0:
            found.append(f"{needle!r} in {data[max(0, at - 200) : at + 100]!r}")
    return found
