"""`KeyringBeside`: the data keys as one transaction of the host sees them, its own uncommitted ones included."""

from __future__ import annotations

from vault_adapters.crypto.envelope import EnvelopeKey
from vault_adapters.crypto.keyring import Keyring
from vault_adapters.crypto.tenant_keys import TenantKeys
from vault_domain.ports.keys import Keys
from vault_domain.ports.master_key import MasterKeys


class KeyringBeside(Keyring):
    """Uses the active keys that another keyring holds, and keeps to itself those that it reads or creates.

    The host may roll its transaction back. A data key that was created in it then never existed, so the other keyring
    must not seal under that data key.

    Args:
        other: the keyring of all other callers.
        repository: the data keys, read and created on the host's connection.
        master_keys, tenant_keys: see `Keyring`.
    """

    def __init__(self, other: Keyring, repository: Keys, master_keys: MasterKeys, tenant_keys: TenantKeys) -> None:
        super().__init__(repository, master_keys, tenant_keys=tenant_keys)
        self._other = other
        self._borrowed: set[str] = set()

    async def ensure_active_key(self, tenant_id: str) -> EnvelopeKey:
        """See `Keyring`."""
        return self._borrow(tenant_id) or await super().ensure_active_key(tenant_id)

    async def find_active_key(self, tenant_id: str) -> EnvelopeKey:
        """See `Keyring`."""
        return self._borrow(tenant_id) or await super().find_active_key(tenant_id)

    def _borrow(self, tenant_id: str) -> EnvelopeKey | None:
        """Return the active key that the other keyring holds; only once, because a caller asks again if it is old."""
        if tenant_id in self._borrowed:
            return None
        self._borrowed.add(tenant_id)
        return self._other.active_at_hand(tenant_id)
