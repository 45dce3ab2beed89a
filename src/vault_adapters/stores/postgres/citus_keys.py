"""Reads data keys on tables that Citus distributes, each from the node of its tenant."""

from __future__ import annotations

from collections.abc import Iterable

from vault_adapters.stores.postgres.cursors import Row
from vault_adapters.stores.postgres.readers import Reader
from vault_adapters.stores.queries import Queries
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import StorageError
from vault_domain.entities.key_records import MasterKeyState


class DataKeyReads:
    """Returns the rows of the statement `get_data_keys`.

    Wraps under unusable master keys are left out. Which master keys are usable is in the audit events that belong to no
    tenant, and those are on one node. If that node fails, the master keys that were usable at the last read are usable
    still, but for those that the statement finds to be retired by their own table, which is on each node. No master key
    can be retired meanwhile, because that writes to the node.
    """

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._usable: list[bytes] | None = None

    async def rows(self, reader: Reader, places: Iterable[tuple[str, bytes | None]]) -> list[Row]:
        """Return the data keys at these places; an id of None stands for the tenant's active data key."""
        usable = await self._usable_master_keys(reader)
        own: dict[str, set[bytes | None]] = {}
        for tenant_id, key_id in places:
            own.setdefault(tenant_id, set()).add(key_id)
        wanted = [
            {
                "tenant_id": tenant_id,
                "data_key_ids": [key_id for key_id in key_ids if key_id is not None],
                "with_active": None in key_ids,
                "master_key_ids": usable,
            }
            for tenant_id, key_ids in own.items()
        ]
        found = await reader.fetch_together([(self._queries["get_data_keys"], each) for each in wanted])
        return [row for rows in found for row in rows]

    async def _usable_master_keys(self, reader: Reader) -> list[bytes]:
        try:
            rows = await reader.fetch(self._queries["list_master_keys"])
        except StorageError as error:
            if self._usable is None or not error.retryable:
                raise
            return self._usable
        retired = {MasterKeyState.RETIRED, AuditAction.MASTER_KEY_RETIRED}
        self._usable = [key_id for key_id, *_, state, _, event, _ in rows if retired.isdisjoint((state, event))]
        return self._usable
