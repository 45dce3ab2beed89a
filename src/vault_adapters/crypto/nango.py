"""Decrypts what Nango encrypts with NANGO_ENCRYPTION_KEY: AES-256-GCM; ciphertext, IV and tag each in base64."""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault_domain.entities.errors import ConfigurationError
from vault_domain.entities.secret import Secret

_KEY_BYTES, _IV_BYTES, _TAG_BYTES = 32, 12, 16


class NangoReader:
    """Decrypts credentials.

    Args:
        key: the value of NANGO_ENCRYPTION_KEY, 32 bytes in base64.

    Raises:
        ConfigurationError: the key is malformed; the message does not repeat it.
    """

    def __init__(self, key: Secret) -> None:
        raw = _decoded(key.reveal().strip())
        if raw is None or len(raw) != _KEY_BYTES:
            raise ConfigurationError("Nango's encryption key must be 32 bytes in base64")
        self._cipher = AESGCM(raw)

    def read(self, encrypted: str, iv: str, tag: str) -> str | None:
        """Return the decrypted text, or None if it does not decrypt."""
        parts = [_decoded(text) for text in (encrypted, iv, tag)]
        if any(part is None for part in parts):
            return None
        body, nonce, mark = (part or b"" for part in parts)
        if len(nonce) != _IV_BYTES or len(mark) != _TAG_BYTES:
            return None
        try:
            return self._cipher.decrypt(nonce, body + mark, None).decode()
        except (InvalidTag, UnicodeDecodeError):
            return None


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
