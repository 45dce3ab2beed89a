"""The local master key: derived from the configured secret with scrypt when a vault is opened."""

import asyncio
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from attrs import frozen

from vault_adapters.crypto.envelope import KEY_ID_SIZE, KEY_SIZE, EnvelopeKey, Purpose, Uncopied, encode_context
from vault_adapters.crypto.scrypt_parameters import MIN_LOG2_N, ScryptParameters
from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.entities.key_records import MasterKeyRecord
from vault_domain.entities.secret import Secret, as_secret
from vault_domain.ports.cipher import UnreadableError

PROVIDER = "local"
DEFAULT_LOG2_N = 17
MIN_SECRET_LENGTH = 32

_ROOT_SIZE = 64


_GENERATED = re.compile(r"tvs1_([A-Za-z0-9_-]{43})([0-9a-f]{8})\Z")


def generate_encryption_secret() -> str:
    """Return a new encryption secret: 256 random bits, in a form by which the vault knows that they are random.

    Such a secret cannot be guessed, so a new local master key is derived from it at the lowest cost: ``tvs1_``, 43
    characters of URL-safe base64, and a check sum of 8 hexadecimal digits.
    """
    text = secrets.token_urlsafe(32)
    return f"tvs1_{text}{_check_sum(text)}"


def _is_generated(secret: Secret) -> bool:
    found = _GENERATED.match(secret.reveal())
    return found is not None and _check_sum(found[1]) == found[2]


def _check_sum(text: str) -> str:
    # It tells a generated secret from one that somebody has made up in its form; it hides nothing.
    return hashlib.sha256(f"token-vault secret {text}".encode()).hexdigest()[:8]


def as_encryption_secret(value: Secret | str) -> Secret:
    """Check an encryption secret and return it as `Secret`, with the same text.

    Args:
        value: at least 32 characters, counted as UTF-16 units.

    Raises:
        ConfigurationError: the secret is not a text, is too short or too long, or has a lone surrogate; the message
            does not repeat the secret.
    """
    secret: Secret | None = None
    with suppress(InvalidInputError):
        secret = as_secret(value)
    del value
    if secret is None:
        raise ConfigurationError(
            "the encryption secret must be text of at most 64 KiB without lone surrogates",
            code="encryption_secret_invalid",
        )
    if len(secret.reveal().encode("utf-16-le")) // 2 < MIN_SECRET_LENGTH:
        raise ConfigurationError(
            f"the encryption secret must have at least {MIN_SECRET_LENGTH} characters", code="encryption_secret_short"
        )
    return secret


class LocalMasterKey(Uncopied):
    """Implements `MasterKey` with a key in this process's memory.

    Args:
        key: the key, 32 bytes.
        key_id: the key's id, 16 bytes.
    """

    __slots__ = ("_envelope",)
    _what = "a key"

    def __init__(self, key: bytes, key_id: bytes) -> None:
        self._envelope = EnvelopeKey(key, key_id, Purpose.WRAPPED_DATA_KEY)

    @property
    def key_id(self) -> bytes:
        """The key's id, derived from the secret, the salt and the parameters."""
        return self._envelope.key_id

    async def wrap(self, data_key: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        try:
            return self._envelope.seal(data_key, _context(tenant_id, data_key_id))
        finally:
            del data_key

    async def unwrap(self, wrapped: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        data_key = self._envelope.open(wrapped, _context(tenant_id, data_key_id))
        if len(data_key) == KEY_SIZE:
            return data_key
        del data_key
        raise UnreadableError("size")

    async def check(self) -> None:
        """Do nothing, because a key in memory is always available."""

    def __repr__(self) -> str:
        return f"LocalMasterKey(key_id={self.key_id.hex()})"


async def new_record(secret: Secret, log2_n: int = DEFAULT_LOG2_N) -> tuple[MasterKeyRecord, LocalMasterKey]:
    """Return a new record with a random salt, and its key. This takes about 0.3 s of one core at the default cost.

    Args:
        secret: from `as_encryption_secret`.
        log2_n: scrypt's cost, 14 to 18; a secret of `generate_encryption_secret` gets the lowest.

    Raises:
        ConfigurationError: the cost is out of range, or the memory does not suffice for scrypt.
    """
    cost = min(log2_n, MIN_LOG2_N) if _is_generated(secret) else log2_n
    parameters = ScryptParameters(cost, os.urandom(KEY_SIZE))
    derived = await _derive(secret, parameters)
    record = MasterKeyRecord(derived.key.key_id, PROVIDER, kdf=parameters.to_json(), check_value=derived.check_value)
    return record, derived.key


async def open_record(record: MasterKeyRecord, secret: Secret) -> LocalMasterKey | None:
    """Return the key of a record, or None if the record belongs to another secret.

    Raises:
        ConfigurationError: the record's parameters are out of range (then scrypt does not run), or the memory does not
            suffice for scrypt.
    """
    derived = await _derive(secret, ScryptParameters.from_json(record.kdf))
    same_check = hmac.compare_digest(derived.check_value, record.check_value)
    same_id = hmac.compare_digest(derived.key.key_id, record.key_id)
    return derived.key if same_check and same_id else None


@frozen(eq=False, repr=False)
class _Derived:
    key: LocalMasterKey
    check_value: bytes


async def _derive(secret: Secret, parameters: ScryptParameters) -> _Derived:
    # Use a thread, because scrypt would block the event loop. If scrypt fails, the thread returns None instead of
    # raising an error, because the traceback of an error would keep frames that hold the secret.
    derived = await _in_a_thread_of_its_own(_derive_now, secret, parameters)
    if derived is None and not _has_scrypt():
        raise ConfigurationError(
            "OpenSSL has no scrypt here, as over a FIPS provider: use a key service for the master key",
            code="scrypt_missing",
        )
    if derived is None:
        raise ConfigurationError("there is not enough memory to run scrypt", code="scrypt_memory", retryable=True)
    return derived


async def _in_a_thread_of_its_own(
    work: Callable[[Secret, ScryptParameters], _Derived | None], secret: Secret, parameters: ScryptParameters
) -> _Derived | None:
    """Run the work in a new thread, which ends when the work ends.

    A thread of anyio or asyncio would live as long as the event loop, so closing the vault would not end it.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix="token-vault-scrypt")
    future = asyncio.get_running_loop().run_in_executor(executor, work, secret, parameters)
    try:
        return await future
    finally:
        executor.shutdown(wait=not future.cancelled())


def _derive_now(secret: Secret, parameters: ScryptParameters) -> _Derived | None:
    root = _root(secret, parameters)
    if root is None:
        return None
    bound = parameters.encoded
    wrap_key = _block(root, b"tokenvault/v1/kek-wrap")[:KEY_SIZE]
    key_id = _block(root, b"tokenvault/v1/kek-id", bound)[:KEY_ID_SIZE]
    check_value = _block(root, b"tokenvault/v1/kek-check", bound)[:KEY_SIZE]
    return _Derived(LocalMasterKey(wrap_key, key_id), check_value)


def _root(secret: Secret, parameters: ScryptParameters) -> bytes | None:
    cost = 1 << parameters.log2_n
    try:
        return hashlib.scrypt(
            secret.reveal().encode(),
            salt=parameters.salt,
            n=cost,
            r=parameters.r,
            p=parameters.p,
            maxmem=132 * cost * parameters.r,
            dklen=_ROOT_SIZE,
        )
    except (ValueError, MemoryError):
        return None


def _has_scrypt() -> bool:
    try:
        hashlib.scrypt(b"", salt=bytes(16), n=2, r=1, p=1)
    except ValueError:
        return False
    except MemoryError:
        return True
    return True


def _block(root: bytes, label: bytes, extra: bytes = b"") -> bytes:
    """Return one block of SP 800-108 in counter mode over HMAC-SHA512."""
    fixed = b"".join((b"\x00\x00\x00\x01", label, b"\x00", extra, b"\x00\x00\x02\x00"))
    return hmac.digest(root, fixed, "sha512")


def _context(tenant_id: str, data_key_id: bytes) -> bytes:
    return encode_context("dek", tenant_id, data_key_id.hex())
