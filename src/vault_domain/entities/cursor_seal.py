"""Seals positions in the audit log, because plain positions would tell a tenant how many events other tenants have."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed

_POSITION = struct.Struct(">qq")
_TAG_BYTES = 16
_TEXT_LENGTH = 43
"""Length of a cursor: 32 bytes in base64 without padding."""

_LAST_DIGITS = b"._"
"""The last two characters of the base64 alphabet for cursors.

URL-safe base64 uses ``-`` here, but a cursor that begins with ``-`` would look like a command-line option.
"""


class CursorSeal:
    """Turns positions into cursors that show nothing about the position, and back.

    A cursor has two parts: a keyed hash of listing and position, and the encrypted position. The position is encrypted
    with a key stream, which is made from a secret key and this hash. So one event has different cursors in a tenant's
    listing and in the listing of all tenants. An invented cursor is refused, and so is a cursor of another listing.

    Args:
        material: bytes that belong to one vault and that tenants do not know.
    """

    def __init__(self, material: bytes) -> None:
        self._hash_key = hashlib.sha256(b"cursor hash\0" + material).digest()
        self._stream_key = hashlib.sha256(b"cursor stream\0" + material).digest()

    def seal(self, position: tuple[int, int], tenant_id: str | None) -> str:
        """Return the cursor of a position.

        Args:
            position: two integers of 64 bits.
            tenant_id: the tenant whose events are listed; None: all tenants.
        """
        plain = _POSITION.pack(*position)
        tag = self._tag(plain, tenant_id)
        return base64.b64encode(tag + self._mixed(tag, plain), _LAST_DIGITS).decode().rstrip("=")

    @scrubbed
    def open(self, after: object, tenant_id: str | None) -> tuple[int, int] | None:
        """Return the position of a cursor; None stands for the beginning.

        Raises:
            InvalidInputError: ``after`` is not a cursor of this listing.
        """
        if after is None:
            return None
        raw = _raw(after)
        tag = raw[:_TAG_BYTES]
        plain = self._mixed(tag, raw[_TAG_BYTES:])
        if not hmac.compare_digest(tag, self._tag(plain, tenant_id)):
            raise InvalidInputError("after must be the `next` of a page or the `cursor` of an event of this listing")
        first, second = _POSITION.unpack(plain)
        return first, second

    def _tag(self, plain: bytes, tenant_id: str | None) -> bytes:
        # The empty text stands for the listing of all tenants, because no tenant id is empty.
        listing = plain + (tenant_id or "").encode()
        return hmac.digest(self._hash_key, listing, "sha256")[:_TAG_BYTES]

    def _mixed(self, tag: bytes, text: bytes) -> bytes:
        stream = hmac.digest(self._stream_key, tag, "sha256")[: _POSITION.size]
        return (int.from_bytes(text) ^ int.from_bytes(stream)).to_bytes(_POSITION.size)


def _raw(after: object) -> bytes:
    """Return the bytes of a cursor, or zeros if it is malformed; zeros are then refused like an invented cursor."""
    if isinstance(after, str) and len(after) == _TEXT_LENGTH:
        try:
            return base64.b64decode(after + "=", altchars=_LAST_DIGITS, validate=True)
        except ValueError:
            pass
    return bytes(_TAG_BYTES + _POSITION.size)
