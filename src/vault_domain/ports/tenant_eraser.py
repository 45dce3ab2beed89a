"""TenantEraser: deletes a tenant's rows and makes all its values unreadable, in one transaction."""

from typing import Protocol

from attrs import frozen

from vault_domain.ports.change import Change


@frozen
class Erased:
    """The counts of one erasure; `ErasureReport` explains them."""

    tokens: int
    accounts: int
    data_keys: int
    wraps: int
    audit_events: int


class TenantEraser(Protocol):
    """Deletes a tenant's rows and keys."""

    async def erase(self, tenant_id: str, *, actor: str | None) -> Change[Erased]:
        """Delete a tenant's tokens, accounts and wraps, and mark its data keys destroyed, in one transaction.

        The times of the tokens' last use are deleted too.

        If there is anything to erase, an event TENANT_ERASED is appended, and an event DATA_KEY_DESTROYED for each data
        key. These events and the tombstones of the data keys still name the tenant, even after a later erasure. The
        tenant's other audit events lose tenant and identifier; their action and time stay.

        A concurrent write commits before the erasure and is erased, or fails because its data key is destroyed.
        """

    async def purge(self) -> bool | None:
        """Remove the deleted rows from the database's files too.

        Returns:
            True if the files are clean. False if another connection to the database prevented it for now. None if the
            store cannot clean its files.
        """
