"""KeyRepository: stores master key records and wrapped data keys; it never sees a plaintext key."""

from collections.abc import Set as AbstractSet
from typing import Protocol

from vault_domain.entities.key_records import DataKeyRecord, MasterKeyRecord


class KeyRepository(Protocol):
    """Reads and writes the key tables for opening a vault and for sealing values.

    When a store reads a data key, it leaves out the wraps under retired master keys. Without this rule, a process that
    opened the vault before the retirement, and so still holds such a master key, would open a wrap that an attacker has
    added under it. A master key counts as retired if its stored state or its confirmed state is retired. A store that
    only the vault can write to does not need this rule.

    Every record that is read has `confirmed`, the state that the audit log confirms:

    - a data key: destroyed if an event DATA_KEY_DESTROYED of its tenant has the data key's id as its `code`, else
      decrypt_only if an event DATA_KEY_REPLACED of its tenant has this `code`, else None. Erasing a tenant keeps the
      events DATA_KEY_DESTROYED.
    - a master key: retired if its last event is MASTER_KEY_RETIRED, else active if the last event MASTER_KEY_ACTIVATED
      in the log is about this key, else unwrap_only if the log has an event of this key or an event
      MASTER_KEY_ACTIVATED of another master key, else None.
    """

    async def master_keys(self) -> list[MasterKeyRecord]:
        """Return all master key records, retired ones included."""

    async def introduce_first_master_key(self, record: MasterKeyRecord) -> list[MasterKeyRecord]:
        """Store the first master key as active, unless a master key exists; return all records afterwards.

        If two processes open a new vault at once, the master key of one of them is stored. If data keys or tokens exist
        but no master key, this method stores nothing and returns an empty list, because a vault that lost its master
        key row must not look new.
        """

    async def introduce_master_key(self, record: MasterKeyRecord, known: AbstractSet[bytes]) -> list[MasterKeyRecord]:
        """Store a further master key as unwrap_only, if the caller knows all stored ones; return all records.

        - It stores the record only if the caller has seen (``known``) every record that exists.
        - From the check until the commit, a table lock or an immediate transaction keeps other processes from
          introducing a master key. So of two processes that introduce a master key for the same secret, one stores its
          record, and the other finds this record in the result.
        - A retired record with the same key id becomes unwrap_only again, because a key service's key may be reused.
        - If this method stores a record or makes a retired one unwrap_only, it appends the event MASTER_KEY_INTRODUCED
          in the same transaction.

        Args:
            record: the new master key; its `state` is ignored.
            known: the ids of all records that the caller has seen, including retired ones.
        """

    async def active_data_key(self, tenant_id: str) -> DataKeyRecord | None:
        """Return the tenant's active data key; None if it has none, or if the row is damaged."""

    async def data_key(self, tenant_id: str, key_id: bytes) -> DataKeyRecord | None:
        """Return one data key of this tenant; None if the tenant has no such data key, or if its row is damaged."""

    async def create_data_key(self, record: DataKeyRecord) -> DataKeyRecord:
        """Store the tenant's first active data key in a transaction of its own; return the active data key.

        If several processes create a data key at once, one of the data keys is stored, and all processes get its
        record.

        Raises:
            KeyUnavailableError: no wrap of the new data key is under the active master key; nothing was stored.
        """
