"""Encodes the context that a value's ciphertext is bound to: the token key that the caller asked for."""

from functools import lru_cache

from vault_adapters.crypto.envelope import encode_context
from vault_domain.entities.account import TokenKey

_REMEMBERED = 4096

_EXTRA = b"extra"
_PLACE = slice(20, 48)  # salt and nonce, random for each sealed value


class ContextEncoder:
    """Encodes contexts; it caches the encoding of tenant, provider and kind, because many values share them.

    Args:
        remembered: number of combinations of tenant, provider and kind to cache.
    """

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._shared_part = lru_cache(remembered)(_shared_part)

    def encode(self, key: TokenKey) -> bytes:
        """Return ``encode_context(tenant_id, provider, kind, identifier or "")``."""
        identifier = (key.identifier or "").encode()
        return self._shared_part(key.tenant_id, key.provider, key.kind) + len(identifier).to_bytes(2) + identifier


def beside(context: bytes, blob: bytes) -> bytes:
    """Return the context of the extra members that belong to one sealed value.

    It is the value's own context with two more parts: a constant, and the value's salt and nonce, which no other sealed
    value has. So the value and its extra members do not open in each other's place, and the members do not open beside
    another value.

    Args:
        context: the context of the value.
        blob: the value's envelope.
    """
    place = blob[_PLACE].hex().encode()
    parts = b"".join(len(part).to_bytes(2) + part for part in (_EXTRA, place))
    return context[:1] + bytes((context[1] + 2,)) + context[2:] + parts


def _shared_part(tenant_id: str, provider: str, kind: str) -> bytes:
    # Drop the last two bytes, which are the length of the empty identifier.
    return encode_context(tenant_id, provider, kind, "")[:-2]
