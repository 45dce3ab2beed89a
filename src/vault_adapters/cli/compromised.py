"""Replaces a master key and data keys that someone else may know, and then re-encrypts the values."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from attrs import frozen

from vault_domain import DataKeyRotation, DataKeyRotations, MasterKeyRotation, Reencryption, TokenVault

Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Shows progress under a title while a ``with`` block runs; the block gets the function that sets the progress."""


@frozen
class Replacement:
    """The results of `replace_keys`.

    Attributes:
        data_keys: the rotation of the tenant's data key, or of all tenants' data keys.
        values: the re-encryption of the values; it also counts the destroyed data keys.
        master_key: the rotation of the master key; None if no new master key is configured.
    """

    data_keys: DataKeyRotation | DataKeyRotations
    values: Reencryption
    master_key: MasterKeyRotation | None

    @property
    def incomplete(self) -> bool:
        """Whether a key that was to be replaced is still in use."""
        if isinstance(self.data_keys, DataKeyRotations) and self.data_keys.incomplete:
            return True
        return self.values.incomplete or (self.master_key is not None and self.master_key.incomplete)


async def replace_keys(vault: TokenVault, tenant: str | None, bar: Bar) -> Replacement:
    """Replace the keys of one tenant, or of all tenants if ``tenant`` is None.

    A new master key becomes active first, so that no new data key gets a wrap under the master key that may be known.
    """
    master = await _rotate_master_key(vault, bar)
    with bar("rotating") as progress:
        if tenant is None:
            data_keys: DataKeyRotation | DataKeyRotations = await vault.keys.rotate_data_keys(progress=progress)
        else:
            data_keys = await vault.keys.rotate_data_key(tenant)
    with bar("re-encrypting") as progress:
        values = await vault.keys.reencrypt(tenant, progress, compromised=True)
    if master is not None and master.incomplete:
        # Data keys that kept the previous master key in use may have been destroyed by now.
        master = await _rotate_master_key(vault, bar) or master
    return Replacement(data_keys, values, master)


async def count_keys(vault: TokenVault, tenant: str | None) -> dict[str, int | bool]:
    """Return how many keys and tokens `replace_keys` would change, and whether it would rotate the master key."""
    status = await vault.keys.status(tenant_id=tenant)
    if tenant is None:
        tokens = (await vault.keys.rotate_data_keys(dry_run=True)).tokens_to_reencrypt
    else:
        tokens = (await vault.keys.rotate_data_key(tenant, dry_run=True)).tokens_to_reencrypt
    return {
        "data_keys_to_rotate": status.active,
        "tokens_to_reencrypt": tokens,
        "data_keys_to_destroy": status.active + status.decrypt_only,
        "master_key_rotation_due": status.master_key_rotation_due,
    }


async def _rotate_master_key(vault: TokenVault, bar: Bar) -> MasterKeyRotation | None:
    if not (await vault.keys.status()).master_key_rotation_due:
        return None
    with bar("rewrapping") as progress:
        return await vault.keys.rotate_master_key(progress)
