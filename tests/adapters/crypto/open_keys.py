"""Master keys and ciphers for tests: real ones, with the cheapest scrypt."""

import os

from vault_adapters.crypto.cipher import AesGcmCipher
from vault_adapters.crypto.keyring import Keyring
from vault_adapters.crypto.local_key import LocalMasterKey
from vault_domain.entities.errors import KeyUnavailableError
from vault_domain.ports.master_key import MasterKeys


class SwitchableMasterKey:
    """A master key whose service can be switched off, and whose calls can be held up.

    Attributes:
        outage: an error to raise instead of answering, or None.
        gate: an `asyncio.Event` that calls wait for, or None.
        wraps, unwraps: number of calls of each method.
    """

    def __init__(self):
        self.inner = LocalMasterKey(os.urandom(32), os.urandom(16))
        self.key_id = self.inner.key_id
        self.outage = None
        self.gate = None
        self.wraps = self.unwraps = 0

    async def wrap(self, data_key, tenant_id, data_key_id):
        self.wraps += 1
        try:
            await self._ask()
            return await self.inner.wrap(data_key, tenant_id, data_key_id)
        finally:
            del data_key

    async def unwrap(self, wrapped, tenant_id, data_key_id):
        self.unwraps += 1
        await self._ask()
        return await self.inner.unwrap(wrapped, tenant_id, data_key_id)

    async def check(self):
        await self._ask()

    def switch_off(self):
        self.outage = KeyUnavailableError(reason="kms_unavailable")

    async def _ask(self):
        if self.gate is not None:
            await self.gate.wait()
        if self.outage is not None:
            raise self.outage


class Seconds:
    """A monotonic clock that is moved by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def master_keys(*keys):
    """Return opened master keys, the first of them active and configured."""
    return MasterKeys({key.key_id: key for key in keys}, keys[0].key_id, keys[0].key_id)


def cipher_over(repository, *keys, **settings):
    """Return a cipher over a repository and these master keys."""
    return AesGcmCipher(keyring_over(repository, *keys, **settings))


def keyring_over(repository, *keys, **settings):
    """Return a keyring over a repository and these master keys."""
    return Keyring(repository, master_keys(*keys), **settings)
