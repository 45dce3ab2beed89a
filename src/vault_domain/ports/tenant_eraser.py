"""TenantEraser: makes everything of a tenant unreadable at once."""

from typing import Protocol

from attrs import frozen

from vault_domain.ports.change import Change


@frozen
class Erased:
    """What one erasure removed; the counts are those of `ErasureReport`."""

    tokens: int
    accounts: int
    data_keys: int
    wraps: int
    audit_events: int


class TenantEraser(Protocol):
    """Deletes a tenant's rows and keys."""

    async def erase(self, tenant_id: str, *, actor: str | None) -> Change[Erased]:
        """Delete tokens, uses, accounts and wraps, and mark the data keys destroyed, in one transaction.

        Earlier audit events of the tenant keep what happened and when, and lose tenant and identifier. The event of
        the erasure itself names the tenant, as its data keys' tombstones do. Where nothing is stored of the tenant,
        nothing is appended.

        Writes that are under way either come first, and are erased, or find their data key destroyed.
        """

    async def purge(self) -> bool | None:
        """Remove what was deleted from the database's own files too; None where that is not in this store's hands.

        Returns:
            False where somebody who reads the database prevented it for now.
        """
