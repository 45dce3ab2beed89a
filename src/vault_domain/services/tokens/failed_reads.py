"""Counts reads that failed to decrypt: in total, and for each tenant."""

from collections import OrderedDict

MOST_TENANTS = 10_000
"""Largest number of tenants with a count of their own; it bounds the memory."""


class FailedReads:
    """Counts failed reads since the vault was opened.

    Beyond `MOST_TENANTS` tenants, the count of the tenant whose last failure is the oldest is dropped. The total
    still includes it.
    """

    def __init__(self) -> None:
        self._total = 0
        self._of_tenants: OrderedDict[str, int] = OrderedDict()

    def add(self, tenant_id: str) -> None:
        """Count one failed read of a tenant's token."""
        self._total += 1
        self._of_tenants[tenant_id] = self._of_tenants.pop(tenant_id, 0) + 1
        if len(self._of_tenants) > MOST_TENANTS:
            self._of_tenants.popitem(last=False)

    def count(self, tenant_id: str | None = None) -> int:
        """Return the number of failed reads of one tenant; None: of all tenants."""
        return self._total if tenant_id is None else self._of_tenants.get(tenant_id, 0)
