"""Decrypts the original format: base64(salt16 | iv12 | tag16 | ciphertext), with one scrypt run per value."""

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Iterable
from itertools import islice

from anyio import CapacityLimiter, create_task_group, to_thread
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.secret import MAX_SECRET_BYTES, Secret

_SALT, _IV, _TAG = 16, 12, 16
_HEADER = _SALT + _IV + _TAG
_N, _R, _P = 16384, 8, 1
_MAX_TEXT = 4 * (-(-(_HEADER + MAX_SECRET_BYTES) // 3))


def read_original(encoded: str, secret: Secret) -> Secret | None:
    """Return the value, or None if it does not decrypt. A call takes about 30 ms of one core and 16 MiB.

    Args:
        encoded: the encrypted value from the original system's table, in canonical base64.
        secret: the encryption secret of the original system, exactly as configured there.
    """
    raw = _decoded(encoded)
    if raw is None:
        return None
    salt, iv, tag, ciphertext = raw[:16], raw[16:28], raw[28:_HEADER], raw[_HEADER:]
    cipher = AESGCM(
        hashlib.scrypt(secret.reveal().encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=132 * _N * _R, dklen=32)
    )
    try:
        return Secret(cipher.decrypt(iv, ciphertext + tag, None).decode())
    except (InvalidTag, UnicodeDecodeError, InvalidInputError):
        return None


async def read_originals(column: Iterable[str], secret: Secret, *, threads: int = 4) -> AsyncIterator[Secret | None]:
    """Yield what `read_original` returns for each text, in order; several threads decrypt at the same time.

    Args:
        column: the texts; they are read a few at a time, so there may be any number.
        secret: see `read_original`.
        threads: number of threads; each needs 16 MiB.
    """
    limiter = CapacityLimiter(threads)
    texts = iter(column)
    while chunk := list(islice(texts, 16 * threads)):
        for value in await _read_all(chunk, secret, limiter):
            yield value


async def _read_all(texts: list[str], secret: Secret, limiter: CapacityLimiter) -> list[Secret | None]:
    values: list[Secret | None] = [None] * len(texts)

    async def read(number: int) -> None:
        values[number] = await to_thread.run_sync(read_original, texts[number], secret, limiter=limiter)

    async with create_task_group() as group:
        for number in range(len(texts)):
            group.start_soon(read, number)
    return values


def _decoded(encoded: str) -> bytes | None:
    if len(encoded) > _MAX_TEXT:
        return None
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    canonical = len(raw) >= _HEADER and base64.b64encode(raw).decode() == encoded
    return raw if canonical else None
