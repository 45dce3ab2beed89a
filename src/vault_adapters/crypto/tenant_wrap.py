"""The wrap of a data key under a tenant's own master key, inside a wrap under the vault's master key.

The vault's master key wraps a random key, the outer key. The outer key seals what the tenant's own master key has made
of the data key, and the sealing is bound to the URI of that master key. So both master keys are needed to open the data
key. Without the vault's master key, nobody can plant a wrap or change the URI, so a writer to the database cannot lead
the vault to a key service of their own. docs/reference/format.md describes the bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from attrs import field, frozen

from vault_adapters.crypto.envelope import KEY_ID_SIZE, EnvelopeKey, Purpose, encode_context
from vault_domain.entities.key_records import DataKeyRecord, DataKeyWrap
from vault_domain.ports.cipher import UnreadableError

MOST_URI = 2048
"""Largest length of the URI of a master key, in bytes."""

_MAGIC = b"\xe7\x01tenant"
"""Marks a wrap of this kind. No envelope begins so, and a key service's wrap does with a chance of 2**-64."""

_MALFORMED = "tenant_wrap"


@frozen(repr=False)
class TenantWrap:
    """The parts of a wrap.

    Attributes:
        uri: names the tenant's own master key.
        outer: the outer key, wrapped under the vault's master key.
        inner: the wrap under the tenant's own master key, sealed under the outer key.
    """

    uri: str
    outer: bytes = field(repr=False)
    inner: bytes = field(repr=False)

    def packed(self, outer: bytes | None = None) -> bytes:
        """Return the bytes to store; ``outer`` replaces the wrap of the outer key."""
        parts = (self.uri.encode(), self.outer if outer is None else outer, self.inner)
        return _MAGIC + b"".join(len(part).to_bytes(2) + part for part in parts)


def parsed(wrapped: bytes) -> TenantWrap | None:
    """Return the parts of a wrap; None if it is a wrap under the vault's master key alone.

    Raises:
        UnreadableError: the wrap is malformed.
    """
    if not wrapped.startswith(_MAGIC):
        return None
    parts, rest = [], wrapped[len(_MAGIC) :]
    for _ in range(3):
        end = 2 + int.from_bytes(rest[:2])
        parts.append(rest[2:end])
        if len(rest) < end:
            raise UnreadableError(_MALFORMED)
        rest = rest[end:]
    uri = parts[0].decode("ascii", "replace")
    if rest or not uri.isascii() or not 0 < len(uri) <= MOST_URI:
        raise UnreadableError(_MALFORMED)
    return TenantWrap(uri, parts[1], parts[2])


def sealed(inner: bytes, outer_key: bytes, uri: str, tenant_id: str, data_key_id: bytes) -> bytes:
    """Seal a wrap under the tenant's own master key."""
    try:
        key = EnvelopeKey(outer_key, data_key_id, Purpose.TENANT_WRAP)
    finally:
        del outer_key
    return key.seal(inner, _context(uri, tenant_id, data_key_id))


def opened(wrap: TenantWrap, outer_key: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
    """Return the wrap under the tenant's own master key.

    Raises:
        UnreadableError: the wrap or its URI was changed, or it belongs to another tenant or data key.
    """
    try:
        key = EnvelopeKey(outer_key, data_key_id, Purpose.TENANT_WRAP)
    finally:
        del outer_key
    return key.open(wrap.inner, _context(wrap.uri, tenant_id, data_key_id))


def outer_id(data_key_id: bytes) -> bytes:
    """Return the id under which the vault's master key wraps the outer key.

    It differs from the data key's id, so that an outer key cannot be taken for the data key.
    """
    return hashlib.sha256(b"tokenvault/v1/tenant-wrap\x00" + data_key_id).digest()[:KEY_ID_SIZE]


def uri_of(wraps: Iterable[DataKeyWrap]) -> str | None:
    """Return the URI of the tenant's own master key that wraps a data key; None if there is none.

    Raises:
        UnreadableError: a wrap is malformed, or the wraps differ in the URI, so that somebody has changed them.
    """
    found = {None if wrap is None else wrap.uri for wrap in (parsed(each.wrapped) for each in wraps)}
    if len(found) > 1:
        raise UnreadableError("wraps_differ")
    return next(iter(found), None)


def key_uri(record: DataKeyRecord) -> str | None:
    """Return `uri_of` of a data key."""
    return uri_of(record.wraps)


def _context(uri: str, tenant_id: str, data_key_id: bytes) -> bytes:
    return encode_context("tenant-key", tenant_id, data_key_id.hex(), uri)
