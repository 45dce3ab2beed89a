"""Erases a tenant: deletes its rows, and destroys its data keys so that remaining copies cannot be read."""

import logging

from vault_domain.entities.errors import StorageError
from vault_domain.entities.key_reports import ErasureReport
from vault_domain.ports.accounts import Accounts
from vault_domain.ports.cipher import Cipher
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.upkeep import Upkeep

_log = logging.getLogger(__name__)


class ErasureService:
    """Erases tenants (crypto-shredding). The guide on erasing a tenant lists the copies that remain.

    Args:
        accounts, upkeep, cipher, sink: where the rows are deleted, the files cleaned, the data keys forgotten, and the
            events published.
        tasks: waits.
        remembered: longest time in seconds for which another process, cut off from the store, may go on to return a row
            that it has read or asked for before the erasure.
    """

    def __init__(
        self, accounts: Accounts, upkeep: Upkeep, cipher: Cipher, sink: EventSink, tasks: Tasks, *, remembered: float
    ) -> None:
        self._tasks = tasks
        self._remembered = remembered
        self._accounts = accounts
        self._upkeep = upkeep
        self._cipher = cipher
        self._sink = sink

    async def erase(self, tenant_id: str, *, actor: str | None, wait: bool = False) -> ErasureReport:
        """Erase a tenant in one transaction, then drop the tenant's cached data keys and clean the database's files.

        If ``wait`` is True, return only when no other process can return a row of the tenant.
        """
        change = await self._accounts.erase(tenant_id, actor=actor)
        self._cipher.forget_tenant(tenant_id)
        self._sink.publish(change.events)
        began, cleaned, erased = self._tasks.monotonic(), await self._purge(), change.result
        if wait:
            await self._tasks.sleep(max(0.0, began + self._remembered - self._tasks.monotonic()))
        return ErasureReport(
            tokens=erased.tokens,
            accounts=erased.accounts,
            data_keys=erased.data_keys,
            wraps=erased.wraps,
            audit_events=erased.audit_events,
            checkpointed=cleaned,
        )

    async def _purge(self) -> bool | None:
        try:
            return await self._upkeep.purge()
        except StorageError as error:
            # The erasure is committed, so a failed cleaning must not look like a failed erasure.
            _log.warning("the database's files could not be cleaned (%s)", error.code)
            return False
