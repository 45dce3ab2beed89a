"""A key of a hardware security module as a master key, over PKCS#11 with the library python-pkcs11."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from typing import Any

from vault_adapters.crypto.calling import Calls
from vault_adapters.crypto.envelope import KEY_SIZE, encode_context
from vault_adapters.crypto.service_key import Entries, ServiceKey, denied
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError, VaultError
from vault_domain.ports.cipher import UnreadableError

_URI = re.compile(r"(pkcs11:token=[A-Za-z0-9_. -]{1,32});object=([A-Za-z0-9_. -]{1,128})\Z")
_NONCE, _TAG_BITS, _WRAPPED = 12, 128, 12 + KEY_SIZE + 16
_AT_ONCE = 2
_SECONDS = 5.0

_DENIALS = frozenset(
    {"NoSuchKey", "NoSuchToken", "PinIncorrect", "PinInvalid", "PinLocked", "PinExpired", "TokenNotPresent"}
)
_CHANGED = frozenset({"EncryptedDataInvalid", "EncryptedDataLenRange"})

# Logging in concerns all sessions of a module, so its calls run one after the other.
_calling: dict[str, threading.Lock] = {}


class Pkcs11MasterKey(ServiceKey):
    """Implements `MasterKey` with an AES key of a hardware security module, by AES-GCM.

    Args:
        uri: ``pkcs11:token=<label>;object=<label>``, as in RFC 7512.
        entries: gives ``module`` and ``pin`` of the token.

    Raises:
        ConfigurationError: the URI names no key.
    """

    _service = "pkcs11"
    _holder = "module"

    def __init__(self, uri: str, entries: Entries) -> None:
        found = _URI.match(uri)
        if found is None:
            raise ConfigurationError(
                "a key of a hardware security module is named `pkcs11:token=<label>;object=<label>`",
                code="master_key_unknown",
            )
        self._token, self._object = found.groups()
        self._entries = entries
        super().__init__(uri, "pkcs11")
        self._calls = Calls(_AT_ONCE, _SECONDS, "pkcs11_unavailable", _translated)

    async def wrap(self, data_key: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        nonce, bound, held = os.urandom(_NONCE), _context(tenant_id, data_key_id), [data_key]
        del data_key
        try:
            return nonce + await self._call(lambda key, by: key.encrypt(held[0], **by(nonce, bound)))
        finally:
            held.clear()  # tracebacks of errors must not hold the data key

    async def unwrap(self, wrapped: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """See `MasterKey`."""
        if len(wrapped) != _WRAPPED:
            raise UnreadableError("size")
        nonce, bound = wrapped[:_NONCE], _context(tenant_id, data_key_id)
        data_key = await self._call(lambda key, by: key.decrypt(wrapped[_NONCE:], **by(nonce, bound)))
        if len(data_key) == KEY_SIZE:
            return data_key
        del data_key
        raise UnreadableError("size")

    async def _call(self, work: Callable[[Any, Any], bytes]) -> bytes:
        return await self._calls.run(lambda: self._call_now(work))

    def _call_now(self, work: Callable[[Any, Any], bytes]) -> bytes:
        import pkcs11  # type: ignore[import-untyped, import-not-found, unused-ignore]

        entry = self._entries(self._token) or {}
        module, pin = entry.get("module"), entry.get("pin")
        if not isinstance(module, str) or not isinstance(pin, str):
            raise ConfigurationError(
                "there is no module and PIN for the token in the file of key_service_tokens",
                code="pkcs11_pin_missing",
            )

        def by(nonce: bytes, bound: bytes) -> dict[str, Any]:
            parameters = pkcs11.GCMParams(nonce, bound, _TAG_BITS)
            return {"mechanism": pkcs11.Mechanism.AES_GCM, "mechanism_param": parameters}

        calling = _calling.setdefault(module, threading.Lock())
        if not calling.acquire(timeout=_SECONDS):
            raise KeyUnavailableError(reason="pkcs11_unavailable")
        try:
            token = pkcs11.lib(module).get_token(token_label=self._token.removeprefix("pkcs11:token="))
            with token.open(user_pin=pin) as session:
                secret = pkcs11.ObjectClass.SECRET_KEY
                return bytes(work(session.get_key(label=self._object, object_class=secret), by))
        finally:
            calling.release()


def _translated(error: Exception) -> Exception:
    name = type(error).__name__
    if isinstance(error, VaultError):
        return error.with_traceback(None)
    if isinstance(error, ImportError):
        return ConfigurationError("PKCS#11 needs python-pkcs11: install `token-vault[pkcs11]`", code="missing_extra")
    if name in _CHANGED:
        return UnreadableError("pkcs11_ciphertext")
    if name in _DENIALS:
        return denied("module")
    return KeyUnavailableError(reason="pkcs11_unavailable")


def _context(tenant_id: str, data_key_id: bytes) -> bytes:
    return encode_context("dek", tenant_id, data_key_id.hex())
