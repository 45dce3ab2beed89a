"""`VaultKeys`: the keys of a vault over their life; what `TokenVault.keys` gives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from vault_domain.entities.key_reports import (
    DataKeyRotation,
    DataKeyRotations,
    KeyStatus,
    MasterKeyRotation,
    Reencryption,
)
from vault_domain.entities.scrub import scrubbed_async
from vault_domain.entities.text import as_duration, as_tenant_id
from vault_domain.facade.arguments import as_flag, as_optional_tenant_id, as_progress
from vault_domain.services.use_cases import KeyServices


class VaultKeys:
    """Rotates keys while everything else goes on reading and writing.

    Every method may be called again, also after a crash, and by several processes at once: how far a rotation got
    is seen from the data itself.
    """

    __slots__ = ("_actor", "_services")

    def __init__(self, services: KeyServices, actor: str | None = None) -> None:
        self._services = services
        self._actor = actor

    @scrubbed_async
    async def status(self, *, tenant_id: str | None = None) -> KeyStatus:
        """Return how master keys and data keys stand, as counts; nothing is decrypted.

        Args:
            tenant_id: count one tenant's data keys and tokens; None for all.
        """
        return await self._services.rotating.status(as_optional_tenant_id(tenant_id))

    @scrubbed_async
    async def rotate_data_key(self, tenant_id: str) -> DataKeyRotation:
        """Give a tenant a new data key: what is stored from now on is sealed under it.

        The old one still opens what it has sealed; `reencrypt` brings that over.

        Raises:
            KeyUnavailableError: the new key cannot be wrapped now; nothing changed.
        """
        return await self._services.rotating.rotate(as_tenant_id(tenant_id), actor=self._actor)

    @scrubbed_async
    async def rotate_data_keys(
        self,
        *,
        older_than: timedelta = timedelta(0),
        dry_run: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> DataKeyRotations:
        """Give all tenants a new data key, those whose key is younger than ``older_than`` left out.

        A run that was interrupted may be gone on with: with the time since it began as ``older_than``, it passes over
        the tenants that are done.

        Args:
            older_than: how old a data key must be at least.
            dry_run: only count.
            progress: called after each page with how many tenants are done and how many there are; what it raises
                ends the run.

        Raises:
            KeyUnavailableError: a new key cannot be wrapped now; tenants before it are done.
        """
        age, report = as_duration(older_than, "older_than"), as_progress(progress)
        only_count = as_flag(dry_run, "dry_run")
        return await self._services.rotating.rotate_all(age, report, dry_run=only_count, actor=self._actor)

    @scrubbed_async
    async def rotate_master_key(self, progress: Callable[[int, int], object] | None = None) -> MasterKeyRotation:
        """Make the configured master key the active one and let go of those that this process has open beside it.

        Configure the new one as current and the old one as previous in every process first. A local secret and a
        key service are rotated into each other in the same way. Master keys that this process cannot open stay.

        Args:
            progress: called after each page with how many wraps were added or let go, and how many there are; what it
                raises ends the run, which can be run again.

        Raises:
            ConfigurationError: another master key was made active since this vault was opened, or a key service
                refuses for good.
            KeyUnavailableError: a key service cannot be reached; run it again.
        """
        return await self._services.rewrapping.rotate(as_progress(progress), actor=self._actor)

    @scrubbed_async
    async def reencrypt(
        self, tenant_id: str | None = None, progress: Callable[[int, int], object] | None = None
    ) -> Reencryption:
        """Bring what is sealed under old data keys under the active ones, page by page.

        Generations and times of the tokens stay, and a value that is stored meanwhile wins. What cannot be opened is
        counted and left as it is. An old data key is destroyed by the first run that comes 24 hours or more after
        the one that found nothing under it.

        Args:
            tenant_id: one tenant; None for all.
            progress: called after each page with how many values are done and how many there are; what it raises
                ends the run, which can be run again.

        Raises:
            KeyUnavailableError: the master key cannot be asked now; run it again.
        """
        tenant, report = as_optional_tenant_id(tenant_id), as_progress(progress)
        return await self._services.resealing.reencrypt(tenant, report, actor=self._actor)
