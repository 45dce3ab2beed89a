"""Erases a tenant: deletes its rows, and destroys its data keys so that remaining copies cannot be read."""

from vault_domain.entities.key_reports import ErasureReport
from vault_domain.ports.accounts import Accounts
from vault_domain.ports.cipher import Cipher
from vault_domain.ports.event_sink import EventSink
from vault_domain.ports.tasks import Tasks
from vault_domain.services.tokens.chaining import ChainService

_MOST_SEALS = 20
"""Largest number of seals for which an erasure waits; sweeps go on with a longer log."""


class ErasureService:
    """Erases tenants (crypto-shredding). The guide on erasing a tenant lists the copies that remain.

    Args:
        accounts, cipher, sink: where the rows are deleted, the data keys forgotten, and the events published.
        chain: cuts the tenant from its chain of audit events.
        tasks: waits.
        remembered: longest time in seconds for which another process, cut off from the store, may go on to return a row
            that it has read or asked for before the erasure.
    """

    def __init__(
        self,
        accounts: Accounts,
        cipher: Cipher,
        sink: EventSink,
        tasks: Tasks,
        chain: ChainService,
        *,
        remembered: float,
    ) -> None:
        self._tasks = tasks
        self._chain = chain
        self._remembered = remembered
        self._accounts = accounts
        self._cipher = cipher
        self._sink = sink

    async def erase(self, tenant_id: str, *, actor: str | None, wait: bool = False) -> ErasureReport:
        """Erase a tenant in one transaction, then drop the tenant's cached data keys and clean the database's files.

        If ``wait`` is True, return only when no other process can return a row of the tenant.
        """
        change = await self._accounts.erase(tenant_id, actor=actor)
        self._cipher.forget_tenant(tenant_id)
        self._sink.publish(change.events)
        began, erased = self._tasks.monotonic(), change.result
        await self._chain.seal_now(_MOST_SEALS)
        if wait:
            await self._tasks.sleep(max(0.0, began + self._remembered - self._tasks.monotonic()))
        return ErasureReport(
            tokens=erased.tokens,
            accounts=erased.accounts,
            data_keys=erased.data_keys,
            wraps=erased.wraps,
            audit_events=erased.audit_events,
            checkpointed=erased.is_purged,
        )
