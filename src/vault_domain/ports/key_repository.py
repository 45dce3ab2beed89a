"""KeyRepository: keeps master key records and wrapped data keys; no key in clear ever reaches it."""

from collections.abc import Set as AbstractSet
from typing import Protocol

from vault_domain.entities.key_records import DataKeyRecord, MasterKeyRecord


class KeyRepository(Protocol):
    """What opening a vault and sealing a value need of the key tables."""

    async def master_keys(self) -> list[MasterKeyRecord]:
        """Return all master key records, retired ones included."""

    async def introduce_first_master_key(self, record: MasterKeyRecord) -> list[MasterKeyRecord]:
        """Store the first master key as active, unless there is one; return all records afterwards.

        Of two processes that bootstrap at once one wins. Where data keys or tokens exist but no master key, nothing
        is stored and the list is empty: whoever lost that row must not get a vault that looks new.
        """

    async def introduce_master_key(self, record: MasterKeyRecord, known: AbstractSet[bytes]) -> list[MasterKeyRecord]:
        """Store a further master key as unwrap_only, unless one was introduced meanwhile; return all records.

        It is stored only where no record exists whose key id is not in ``known``; checking and storing exclude
        other introductions (a lock on the table, or an immediate transaction). So of two processes that introduce
        the key of the same secret one wins, and the other finds that key among the records returned. A retired
        record with the same key id becomes unwrap_only again: a key service's key may come back. Either appends the
        event MASTER_KEY_INTRODUCED in the same transaction; creating a database appends none.

        Args:
            record: to be stored, whatever its `state` says.
            known: the ids of all records that the caller has seen, retired ones included.
        """

    async def active_data_key(self, tenant_id: str) -> DataKeyRecord | None:
        """Return the tenant's active data key, or None."""

    async def data_key(self, tenant_id: str, key_id: bytes) -> DataKeyRecord | None:
        """Return one data key of this tenant; another tenant's is None."""

    async def create_data_key(self, record: DataKeyRecord) -> DataKeyRecord:
        """Store the tenant's first active data key, in a transaction of its own; return the one that is active.

        Of several processes that create one at once, one wins and all get its record.
        """
