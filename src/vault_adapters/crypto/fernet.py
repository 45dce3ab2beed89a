"""Decrypts values of Fernet and MultiFernet columns; see https://github.com/fernet/spec."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.entities.secret import MAX_SECRET_BYTES, Secret

_KEY_BYTES = 32
# Largest length of an encoded Fernet token: the base64 of version, time, IV, tag, value and a block of padding. Bytea
# in hexadecimal takes twice as many characters, after ``\x``.
_MOST_TEXT = 2 + 2 * 4 * (-(-(57 + MAX_SECRET_BYTES + 16) // 3))


class FernetReader:
    """Decrypts values under any of several Fernet keys, as MultiFernet does, and ignores the values' age.

    Args:
        keys: the keys, each in the form of `Fernet.generate_key`.

    Raises:
        ConfigurationError: there is no key, or a key is malformed; the message gives the key's place in ``keys``,
            not the key itself.
    """

    def __init__(self, keys: Sequence[Secret]) -> None:
        for number, key in enumerate(keys, 1):
            if not _is_key(key.reveal()):
                raise ConfigurationError(f"key {number} is not a Fernet key, which is 32 bytes in URL-safe base64")
        if not keys:
            raise ConfigurationError("there is no Fernet key")
        self._fernet = MultiFernet([Fernet(key.reveal()) for key in keys])

    def read(self, encoded: str) -> Secret | None:
        """Return a decrypted value, or None if it does not decrypt.

        Args:
            encoded: an encrypted value from another system's table, as canonical base64, or as the bytes of this base64
                text in hexadecimal after ``\\x``, as Postgres prints bytea.
        """
        token = _canonical(encoded)
        if token is None:
            return None
        try:
            return Secret(self._fernet.decrypt(token).decode())
        except (InvalidToken, UnicodeDecodeError, InvalidInputError):
            return None


def _canonical(encoded: str) -> bytes | None:
    """Return the Fernet token of an encoded value; None if the value is too long or its base64 is not canonical.

    Fernet itself accepts base64 that is not canonical, because it ignores characters that are not in the alphabet.
    """
    if len(encoded) > _MOST_TEXT:
        return None
    try:
        token = bytes.fromhex(encoded[2:]) if encoded.startswith("\\x") else encoded.encode("ascii")
        return token if base64.urlsafe_b64encode(base64.urlsafe_b64decode(token)) == token else None
    except ValueError:  # binascii.Error and UnicodeError are subclasses
        return None


def _is_key(text: str) -> bool:
    try:
        raw = base64.urlsafe_b64decode(text)
    except (binascii.Error, ValueError):
        return False
    return len(raw) == _KEY_BYTES and base64.urlsafe_b64encode(raw).decode() == text
