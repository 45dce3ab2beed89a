"""Decrypts one sealed value again and again, while its data key is held in memory."""

from __future__ import annotations

from vault_adapters.crypto.context import beside
from vault_adapters.crypto.envelope import EnvelopeKey, OpenEnvelope, Uncopied
from vault_adapters.crypto.keyring import Keyring
from vault_domain.entities.secret import Secret, decoded_secret
from vault_domain.entities.token import SealedToken


class HeldOpening(Uncopied):
    """Implements `Opening`: holds the subkeys that decrypt a value and its extra members, but no plaintext.

    It works only until the keyring drops the data key or unwraps it again. The keyring drops a data key, for example,
    after `data_key_ttl`, or when its tenant is erased. The opening does not hold the data key itself, because the data
    key would then stay in memory as long as the opening.
    """

    __slots__ = ("_extra", "_key_id", "_keyring", "_tenant_id", "_unwrapping", "_value")
    _what = "an opening"

    def __init__(
        self, keyring: Keyring, tenant_id: str, key: EnvelopeKey, value: OpenEnvelope, extra: OpenEnvelope | None
    ) -> None:
        self._keyring = keyring
        self._tenant_id = tenant_id
        self._key_id = key.key_id
        self._unwrapping = key.unwrapping
        self._value = value
        self._extra = extra

    def __call__(self) -> tuple[Secret, Secret | None] | None:
        """See `Opening`."""
        key = self._keyring.get_held_key(self._tenant_id, self._key_id)
        if key is None or key.unwrapping is not self._unwrapping:
            return None
        plaintext = self._value.plaintext()
        value = None if plaintext is None else decoded_secret(plaintext)
        if value is None:
            return None
        if self._extra is None:
            return value, None
        plaintext = self._extra.plaintext()
        extra = None if plaintext is None else decoded_secret(plaintext)
        return None if extra is None else (value, extra)


def opening_of(keyring: Keyring, tenant_id: str, sealed: SealedToken, context: bytes) -> HeldOpening | None:
    """Return the opening of a sealed value; see `Cipher.opening`.

    Args:
        keyring: holds the data keys.
        tenant_id: the tenant of the value.
        sealed: the value and its extra members.
        context: the context of the value, made from the `TokenKey` that the caller asked for.
    """
    key = keyring.get_held_key(tenant_id, sealed.data_key_id)
    value = None if key is None else key.unlock(sealed.blob, context)
    if key is None or value is None:
        return None
    if sealed.extra is None:
        return HeldOpening(keyring, tenant_id, key, value, None)
    extra = key.unlock(sealed.extra, beside(context, sealed.blob))
    return None if extra is None else HeldOpening(keyring, tenant_id, key, value, extra)
