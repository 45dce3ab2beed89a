"""`VaultKeys`: shows and rotates the keys of a vault; `TokenVault.keys` returns it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from vault_domain.entities.scrub import scrubbed_async
from vault_domain.entities.text import as_duration, as_tenant_id
from vault_domain.facade.arguments import as_flag, as_key_uri, as_optional_tenant_id, as_progress

if TYPE_CHECKING:
    from vault_domain.entities.key_reports import (
        DataKeyRotation,
        DataKeyRotations,
        KeyStatus,
        MasterKeyRotation,
        Reencryption,
        TenantMasterKey,
    )
    from vault_domain.services.use_cases import VaultServices


class VaultKeys:
    """Rotates keys while other callers read and write.

    Every method may be called again, even after a crash, and by several processes at once, because the stored data
    shows how far a rotation got.
    """

    __slots__ = ("_actor", "_services")

    def __init__(self, services: VaultServices, actor: str | None = None) -> None:
        self._services = services
        self._actor = actor

    @scrubbed_async
    async def status(self, *, tenant_id: str | None = None) -> KeyStatus:
        """Return the status of master keys and data keys, without decrypting.

        Args:
            tenant_id: the tenant whose data keys and tokens are counted; None: all tenants.
        """
        return await self._services.rotating.status(as_optional_tenant_id(tenant_id))

    @scrubbed_async
    async def rotate_data_key(self, tenant_id: str, *, dry_run: bool = False) -> DataKeyRotation:
        """Give a tenant a new data key, which encrypts all values stored from now on.

        The old data key still decrypts stored values; `reencrypt` encrypts them under the new one. A tenant without a
        data key gets none.

        Args:
            tenant_id: the tenant.
            dry_run: only count the tokens that would have to be encrypted again.

        Raises:
            KeyUnavailableError: the new data key cannot be wrapped now; nothing was changed.
            ConfigurationError: the key service refuses permanently; nothing was changed.
        """
        tenant, only_count = as_tenant_id(tenant_id), as_flag(dry_run, "dry_run")
        return await self._services.rotating.rotate(tenant, dry_run=only_count, actor=self._actor)

    @scrubbed_async
    async def set_tenant_master_key(self, tenant_id: str, uri: str | None) -> TenantMasterKey:
        """Put a tenant's data keys under a master key of the tenant's own, under another one, or back.

        From then on, no value of the tenant can be opened without that key of the key service. A process uses a data
        key that it has unwrapped for at most ``data_key_ttl`` longer. The vault stays in use meanwhile; a call that was
        killed is called again. To move away from a key, both keys must be usable.

        Old wraps may still be in backups and in files of the database. To be independent of them, rotate the tenant's
        data key and re-encrypt its values afterwards.

        Args:
            tenant_id: the tenant; if it has no data key yet, it gets its first one.
            uri: names the master key at its key service, as in the configuration, such as ``aws-kms:`` and an ARN;
                None: the vault's own master key. A URI holds no credential.

        Raises:
            InvalidInputError: the URI is not valid.
            ConfigurationError: the URI names no key of a key service that the vault knows, its library is not
                installed, or the key service refuses the new key; nothing was changed.
            KeyUnavailableError: the new key or the present one cannot be used now; call again later.
        """
        tenant, name = as_tenant_id(tenant_id), as_key_uri(uri)
        return await self._services.tenant_keys.set(tenant, name, actor=self._actor)

    @scrubbed_async
    async def rotate_data_keys(
        self,
        *,
        older_than: timedelta = timedelta(0),
        dry_run: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> DataKeyRotations:
        """Give each tenant a new data key if its data key is at least ``older_than`` old.

        To continue an interrupted run, pass the time since its start as ``older_than``. The new run then skips the
        tenants that already have a new data key.

        Args:
            older_than: smallest age of a data key to replace.
            dry_run: only count the tenants, and the tokens that would have to be encrypted again.
            progress: called after each page with the number of finished tenants and the number of tenants whose data
                key was due for rotation; an exception that it raises ends the run.

        Raises:
            KeyUnavailableError: a new data key cannot be wrapped now; tenants that this run has finished keep their new
                data keys.
            ConfigurationError: the key service refuses permanently; the finished tenants keep their new data keys too.
        """
        age, report = as_duration(older_than, "older_than"), as_progress(progress)
        only_count = as_flag(dry_run, "dry_run")
        return await self._services.rotating.rotate_all(age, report, dry_run=only_count, actor=self._actor)

    @scrubbed_async
    async def rotate_master_key(self, progress: Callable[[int, int], object] | None = None) -> MasterKeyRotation:
        """Make the configured master key active, and retire the other master keys that this process can open.

        First configure the new master key as current and the old one as previous in every process. Changing from a
        local secret to a key service, or back, works the same way. Master keys that this process cannot open stay. A
        retired master key whose state somebody set back in the database is retired again, even if it cannot be opened.

        Args:
            progress: called after each page with the number of wraps added or deleted so far, and the number of all
                wraps to add or delete; an exception that it raises ends the run, which can be started again.

        Raises:
            ConfigurationError: another master key was made active since this vault was opened, or a key service
                refuses permanently.
            KeyUnavailableError: a key service cannot be reached; start the run again later.
        """
        return await self._services.rewrapping.rotate(as_progress(progress), actor=self._actor)

    @scrubbed_async
    async def reencrypt(
        self,
        tenant_id: str | None = None,
        progress: Callable[[int, int], object] | None = None,
        *,
        compromised: bool = False,
    ) -> Reencryption:
        """Re-encrypt values from old data keys to active ones, page by page.

        - The tokens' generations and times stay.
        - A value that another caller stores meanwhile is not overwritten.
        - Unreadable values are counted and left unchanged.
        - An old data key without values is marked as emptied. The first run at least 24 hours later destroys it.

        Args:
            tenant_id: the tenant whose values are re-encrypted; None: all tenants.
            progress: called after each page with the number of finished values and the number of all values to
                re-encrypt; an exception that it raises ends the run, which can be started again.
            compromised: destroy all emptied data keys at the end of this run, because someone else may know them. A
                waiting answer, which the database has not stored yet, is lost if it was sealed under one of these data
                keys. Its account must then be connected again.

        Raises:
            KeyUnavailableError: the master key cannot be used now; start the run again later.
            ConfigurationError: the key service refuses permanently.
        """
        tenant, report = as_optional_tenant_id(tenant_id), as_progress(progress)
        at_once = as_flag(compromised, "compromised")
        return await self._services.resealing.reencrypt(tenant, report, at_once=at_once, actor=self._actor)
