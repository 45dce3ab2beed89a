"""Envelope v1, suite 1: one value encrypted and bound to one context. docs/reference/format.md describes it."""

import enum
import hmac
import os
from typing import Any, ClassVar, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.hmac import HMAC

from vault_domain.entities.errors import InvalidInputError
from vault_domain.ports.cipher import UnreadableError

MAX_PLAINTEXT = 64 * 1024
KEY_SIZE = 32
KEY_ID_SIZE = 16

_MAGIC_VERSION_SUITE = b"\xe7\x01\x01"
_RANDOM_SIZE = 28  # salt (16) and nonce (12)
_NONCE = slice(36, 48)
_HEADER_SIZE = 80  # the header ends with the commitment
_BLOCK = 32
_OVERHEAD = _HEADER_SIZE + 16
_MAX_BLOB = _OVERHEAD + MAX_PLAINTEXT + _BLOCK
# SP 800-108 in counter mode: the input is counter, label, zero byte, bound data, and the output's length in bits.
_COUNTER = b"\x00\x00\x00\x01"
_LENGTH = b"\x00\x00\x02\x00"
_PADDING = tuple(b"\x80" + bytes(_BLOCK - 1 - used) for used in range(_BLOCK))


class Purpose(enum.Enum):
    """The purpose of an envelope: its number in the header, and the label that separates the derived keys."""

    VALUE = (1, b"tokenvault/v1/value")
    WRAPPED_DATA_KEY = (2, b"tokenvault/v1/dek-wrap")
    TENANT_WRAP = (3, b"tokenvault/v1/tenant-wrap")


def encode_context(*parts: str) -> bytes:
    """Return the unambiguous encoding of the context that a value is bound to.

    Args:
        parts: for a token's value: tenant, provider, kind and identifier (``""`` for none). For a wrapped data key:
            ``"dek"``, tenant and the data key's id in hex.
    """
    encoded = [part.encode() for part in parts]
    return b"".join((bytes((1, len(encoded))), *(len(part).to_bytes(2) + part for part in encoded)))


class Uncopied:
    """Base of the objects that hold a key: they cannot be pickled or copied."""

    __slots__ = ()
    _what: ClassVar[str]

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"{self._what} cannot be pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError(f"{self._what} cannot be pickled or copied")


class OpenEnvelope(Uncopied):
    """An envelope whose key and context were checked, for decrypting it often; it holds no plaintext.

    Only the AES-GCM object holds the subkey of this envelope, and it gives no key bytes to Python code. So, as in
    `EnvelopeKey`, there are no key bytes that could be printed. An open envelope cannot be pickled or copied.

    Args:
        aead: AES-GCM under the subkey.
        blob: the envelope.
        context: the context that the subkey was derived for.
    """

    __slots__ = ("_aead", "_blob", "_bound")
    _what = "an open envelope"

    def __init__(self, aead: AESGCM, blob: bytes, context: bytes) -> None:
        self._aead = aead
        self._blob = blob  # kept whole, because separate parts would mean more reads of cold memory
        self._bound = blob[:_HEADER_SIZE] + context

    def plaintext(self) -> bytes | None:
        """Return the plaintext; None if the envelope was changed."""
        opened = _decrypted(self._aead, self._blob[_NONCE], self._blob[_HEADER_SIZE:], self._bound)
        return opened if type(opened) is bytes else None


class EnvelopeKey(Uncopied):
    """A data key or local master key that can only seal and open.

    It holds the key only inside the state of an HMAC. So no Python object holds key bytes that could be printed, and
    the state cannot be pickled. The HMAC has already read the first part of its input; this part is the same for all
    envelopes of the key.

    Args:
        key: the key, 32 bytes.
        key_id: the key's id, 16 bytes; each envelope names its key by this id.
        purpose: the purpose of its envelopes.

    Raises:
        ValueError: the key or the id has the wrong size.
    """

    __slots__ = ("_prefix", "_state", "key_id", "unwrapping")
    _what = "a key"

    def __init__(self, key: bytes, key_id: bytes, purpose: Purpose) -> None:
        state = HMAC(key, SHA512()) if len(key) == KEY_SIZE else None
        del key
        if state is None or len(key_id) != KEY_ID_SIZE:
            raise ValueError("a key has 32 bytes and its id 16")
        number, label = purpose.value
        self.key_id = key_id
        self.unwrapping = object()
        """Identifies this key. `HeldOpening` keeps this object instead of the key, so that the key can leave memory."""
        self._prefix = _MAGIC_VERSION_SUITE + bytes((number,)) + key_id
        self._state = state
        self._state.update(b"".join((_COUNTER, label, b"\x00", self._prefix)))

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Return the envelope of a plaintext.

        Args:
            plaintext: up to 64 KiB.
            context: see `encode_context`; the envelope opens with the same context only.

        Raises:
            InvalidInputError: the plaintext is too long.
        """
        if len(plaintext) > MAX_PLAINTEXT:
            del plaintext
            raise InvalidInputError("a value must not be longer than 64 KiB")
        return self._seal(plaintext, context, os.urandom(_RANDOM_SIZE))

    def open(self, blob: bytes, context: bytes) -> bytes:
        """Return the plaintext of an envelope.

        Args:
            blob: the envelope.
            context: for a token's value, built from the `TokenKey` that the caller asked for, never from the row.

        Raises:
            UnreadableError: the reason names the failed check: header, key_id, size, commitment, tag or padding.
        """
        opened = self._open(blob, context)
        if type(opened) is bytes:
            return opened
        # Raise here, because this frame holds no subkey and no plaintext.
        raise UnreadableError(str(opened))

    def open_or_none(self, blob: bytes, context: bytes) -> bytes | None:
        """Return what `open` returns; None if a check fails."""
        opened = self._open(blob, context)
        return opened if type(opened) is bytes else None

    def unlock(self, blob: bytes, context: bytes) -> OpenEnvelope | None:
        """Return the open envelope, for decrypting it often; None if this key and this context do not open it.

        Args:
            blob: see `open`.
            context: see `open`.
        """
        aead = self._unlocked(blob, context)
        return None if isinstance(aead, str) else OpenEnvelope(aead, blob, context)

    def _seal(self, plaintext: bytes, context: bytes, random: bytes) -> bytes:
        """Seal with this salt and nonce (``random``), which must never be used twice; only test vectors choose them."""
        state = self._state.copy()
        state.update(random + context + _LENGTH)
        derived = state.finalize()
        header = self._prefix + random + derived[32:]
        padded = plaintext + _PADDING[len(plaintext) % _BLOCK]
        return header + AESGCM(derived[:32]).encrypt(random[16:], padded, header + context)

    def _open(self, blob: bytes, context: bytes) -> bytes | str:
        """Return the plaintext, or the name of the failed check."""
        aead = self._unlocked(blob, context)
        if isinstance(aead, str):
            return aead
        return _decrypted(aead, blob[_NONCE], blob[_HEADER_SIZE:], blob[:_HEADER_SIZE] + context)

    def _unlocked(self, blob: bytes, context: bytes) -> AESGCM | str:
        """Return AES-GCM under the subkey of this envelope, or the name of the failed check."""
        size = len(blob)
        if blob[:20] != self._prefix:
            return "key_id" if blob[:4] == self._prefix[:4] and size > _OVERHEAD else "header"
        if size % _BLOCK or not _OVERHEAD < size <= _MAX_BLOB:
            return "size"
        state = self._state.copy()
        state.update(blob[20:48] + context + _LENGTH)
        derived = state.finalize()
        if not hmac.compare_digest(derived[32:], blob[48:_HEADER_SIZE]):
            return "commitment"
        return AESGCM(derived[:32])

    def __repr__(self) -> str:
        return f"EnvelopeKey(key_id={self.key_id.hex()})"


def _decrypted(aead: AESGCM, nonce: bytes, ciphertext: bytes, bound: bytes) -> bytes | str:
    """Return the plaintext, or the name of the failed check.

    Args:
        aead: AES-GCM under the envelope's subkey.
        nonce: the envelope's nonce.
        ciphertext: the ciphertext with its tag.
        bound: header and context, which the tag covers too.
    """
    try:
        padded = aead.decrypt(nonce, ciphertext, bound)
    except InvalidTag:
        return "tag"
    marked = padded.rstrip(b"\x00")
    if marked[-1:] != b"\x80" or len(padded) - len(marked) >= _BLOCK:
        return "padding"
    return marked[:-1]
