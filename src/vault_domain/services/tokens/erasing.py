"""Erases a tenant: deletes its rows, and destroys its data keys so that remaining copies cannot be read."""

import logging

from vault_domain.entities.errors import StorageError
from vault_domain.entities.key_reports import ErasureReport
from vault_domain.ports.cipher import Cipher
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.tenant_eraser import TenantEraser

_log = logging.getLogger(__name__)


class ErasureService:
    """Erases tenants (crypto-shredding). The guide on erasing a tenant lists the copies that remain."""

    def __init__(self, eraser: TenantEraser, cipher: Cipher, sink: EventSink) -> None:
        self._eraser = eraser
        self._cipher = cipher
        self._sink = sink

    async def erase(self, tenant_id: str, *, actor: str | None) -> ErasureReport:
        """Erase a tenant in one transaction, then drop the tenant's cached data keys and clean the database's files."""
        change = await self._eraser.erase(tenant_id, actor=actor)
        self._cipher.forget_tenant(tenant_id)
        self._sink.publish(change.events)
        erased = change.result
        return ErasureReport(
            tokens=erased.tokens,
            accounts=erased.accounts,
            data_keys=erased.data_keys,
            wraps=erased.wraps,
            audit_events=erased.audit_events,
            checkpointed=await self._purge(),
        )

    async def _purge(self) -> bool | None:
        try:
            return await self._eraser.purge()
        except StorageError as error:
            # The erasure is committed, so a failed cleaning must not look like a failed erasure.
            _log.warning("the database's files could not be cleaned (%s)", error.code)
            return False
