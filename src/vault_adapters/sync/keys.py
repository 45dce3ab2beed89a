"""`SyncKeys`: the keys of a vault, for code without an event loop."""

from __future__ import annotations

from vault_adapters.sync.views import View, blocking
from vault_domain.facade.keys import VaultKeys


class SyncKeys(View[VaultKeys]):
    """Rotates keys while the vault is in use; it has the methods of `VaultKeys`, without await.

    A progress callback runs on the vault's own thread and cannot call this vault.
    """

    _path = "keys."

    status = blocking(VaultKeys.status)
    rotate_data_key = blocking(VaultKeys.rotate_data_key)
    rotate_data_keys = blocking(VaultKeys.rotate_data_keys)
    set_tenant_master_key = blocking(VaultKeys.set_tenant_master_key)
    rotate_master_key = blocking(VaultKeys.rotate_master_key)
    reencrypt = blocking(VaultKeys.reencrypt)
