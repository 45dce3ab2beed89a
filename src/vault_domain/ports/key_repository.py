"""KeyRepository: stores master key records and wrapped data keys; it never sees a plaintext key."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from vault_domain.entities.key_decisions import KeyDecision, MasterKeySet
from vault_domain.entities.key_records import DataKeyRecord, MasterKeyRecord
from vault_domain.ports.change import Change

DecideMasterKeys = Callable[[MasterKeySet, datetime], KeyDecision[MasterKeySet]]
"""Decides what becomes of the master keys, given all of them and the store's time. It has no side effects."""


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

    async def change_master_keys(self, decide: DecideMasterKeys) -> Change[list[MasterKeyRecord]]:
        """Load all master keys, decide, and write those that differ with the events; return all records afterwards.

        - From the load until the commit, nobody else changes a master key or wraps a data key under one. So of two
          processes that introduce a master key for the same secret, the second one sees the record of the first.
        - No master key is deleted. If the decision returns the set that it was given, nothing is written.
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
