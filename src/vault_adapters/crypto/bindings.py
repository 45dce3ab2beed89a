"""Binds a wrapped data key to its tenant and its id, for key services that bind no context themselves."""

from __future__ import annotations

import hashlib
import hmac

from vault_adapters.crypto.envelope import KEY_SIZE, encode_context
from vault_domain.ports.cipher import UnreadableError

BOUND_SIZE = KEY_SIZE + hashlib.sha256().digest_size
"""Length of a data key and its binding."""


def bound(data_key: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
    """Return a data key, followed by a hash of its tenant and its id."""
    return data_key + _binding(tenant_id, data_key_id)


def unbound(plaintext: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
    """Return the data key of `bound`.

    Raises:
        UnreadableError: it belongs to another tenant, or has another id or length.
    """
    data_key, binding = plaintext[:KEY_SIZE], plaintext[KEY_SIZE:]
    del plaintext
    if hmac.compare_digest(binding, _binding(tenant_id, data_key_id)):
        return data_key
    del data_key, binding
    raise UnreadableError("binding")


def _binding(tenant_id: str, data_key_id: bytes) -> bytes:
    return hashlib.sha256(encode_context("dek", tenant_id, data_key_id.hex())).digest()
