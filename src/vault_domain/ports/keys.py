"""Keys: keeps master key records and wrapped data keys, and the values that are encrypted again; it sees no key.

What becomes of a key is decided by `vault_domain.transitions.keys`; a store loads, calls the decision and writes.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from attrs import frozen

from vault_domain.entities.account import TokenKey
from vault_domain.entities.key_decisions import KeyDecision, MasterKeySet
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, DataKeyWrap, MasterKeyRecord
from vault_domain.entities.token import SealedToken
from vault_domain.ports.change import Change

DataKeyPosition = tuple[str, bytes]
"""The tenant and the id of a data key. A page of data keys begins after such a position."""

DecideMasterKeys = Callable[[MasterKeySet, datetime], KeyDecision[MasterKeySet]]
"""Decides what becomes of the master keys, given all of them and the store's time. It has no side effects."""

DecideWrapped = Callable[[DataKeyRecord, Sequence[MasterKeyRecord], datetime], KeyDecision[DataKeyRecord]]
"""Decides what becomes of a data key, given the master keys that may wrap now, and the store's time."""

DecideDataKey = Callable[[DataKeyRecord, datetime, bool], KeyDecision[DataKeyRecord]]
"""Decides what becomes of a data key, given the store's time, and whether a token uses the key."""


@frozen
class DataKeyQuery:
    """Selects data keys; an attribute that is None excludes none.

    Attributes:
        tenant_id: the tenant of the data keys.
        state: their state; None: any but destroyed.
        min_age: they were created at least this long ago.
        min_empty: they were emptied at least this long ago (`DataKeyRecord.emptied_at`).
        is_emptied: whether they were emptied.
        wrapped_by: the id of a master key that wraps them.
        not_wrapped_by: the id of a master key that does not wrap them; only one of these two is given.
        key_id: their id.
    """

    tenant_id: str | None = None
    state: DataKeyState | None = None
    min_age: timedelta | None = None
    min_empty: timedelta | None = None
    is_emptied: bool | None = None
    wrapped_by: bytes | None = None
    not_wrapped_by: bytes | None = None
    key_id: bytes | None = None


@frozen
class SealedRow:
    """A token's key and its sealed value."""

    key: TokenKey
    sealed: SealedToken


@frozen
class Resealed:
    """A value that was sealed again: ``after`` goes into the row if the row still holds ``before``."""

    key: TokenKey
    before: SealedToken
    after: SealedToken


@frozen
class PlacedWrap:
    """A wrap and the data key that it belongs to."""

    tenant_id: str
    data_key_id: bytes
    wrap: DataKeyWrap


@frozen
class KeyCounts:
    """Counts of keys by state.

    Attributes:
        wraps: number of data keys that each master key wraps, by master key id; master keys without wraps are left out.
        active: number of active data keys.
        decrypt_only: number of data keys that only decrypt.
        destroyed: number of destroyed data keys, whose records are tombstones.
        tokens_to_reseal: number of tokens under data keys that are decrypt_only and not marked as emptied.
        resurrected: number of data keys whose state was set back from the state that the audit log confirms.
        to_rotate: number of active data keys of at least the age that was asked for; 0 if none was.
        tokens_to_rotate: number of tokens under these data keys.
    """

    wraps: dict[bytes, int]
    active: int
    decrypt_only: int
    destroyed: int
    tokens_to_reseal: int
    resurrected: int = 0
    to_rotate: int = 0
    tokens_to_rotate: int = 0


class Keys(Protocol):
    """Reads and writes the key tables while the vault is in use.

    Each method is one short transaction, except for `change_data_keys`, which runs one for each page. Repeated and
    concurrent calls are harmless, because the stored data shows how far a rotation got. At every commit, each data key
    that is not destroyed has a wrap under a master key that is not retired.

    When a store reads a data key, it leaves out the wraps under retired master keys. Without this rule, a process that
    opened the vault before the retirement, and so still holds such a master key, would open a wrap that an attacker has
    added under it. A master key counts as retired if its stored state or its confirmed state is retired. A store that
    only the vault can write to does not need this rule.

    Every record that is read has `confirmed`, the state that the audit log confirms: see `confirmed_data_key` and
    `confirmed_master_key` of `vault_domain.rules.key_states`. Erasing a tenant keeps the events that confirm.

    A wrap is stored only under the master key that is active at that moment (`may_wrap`). This holds for
    `create_data_key`, `change_data_key` and `change_wraps`, which wait for a running `change_master_keys`, as it waits
    for them. So every data key that was stored before an activation has a wrap under the previous master key, by which
    the rotation finds this data key. Every data key that is stored later has a wrap under the new one.
    """

    async def master_keys(self) -> list[MasterKeyRecord]:
        """Return all master key records, retired ones included."""

    async def change_master_keys(self, decide: DecideMasterKeys) -> Change[list[MasterKeyRecord]]:
        """Load all master keys, decide, and write those that differ with the events; return all records afterwards.

        - From the load until the commit, nobody else changes a master key or wraps a data key under one. So of two
          processes that introduce a master key for the same secret, the second one sees the record of the first.
        - No master key is deleted. If the decision returns the set that it was given, nothing is written.
        """

    async def data_key(self, tenant_id: str, key_id: bytes | None) -> DataKeyRecord | None:
        """Return one data key of this tenant; None if the tenant has no such data key, or if its row is damaged.

        Args:
            tenant_id: the tenant.
            key_id: the id of the data key; None: the active data key.
        """

    async def create_data_key(self, record: DataKeyRecord) -> DataKeyRecord:
        """Store the tenant's first active data key in a transaction of its own; return the active data key.

        If several processes create a data key at once, one of the data keys is stored, and all processes get its
        record.

        Raises:
            KeyUnavailableError: no wrap of the new data key is under the active master key; nothing was stored.
        """

    async def change_data_key(
        self, tenant_id: str, key_id: bytes, decide: DecideWrapped
    ) -> Change[DataKeyRecord | None]:
        """Load a data key, decide, and write it with its wraps, `KeyDecision.new` and the events, all or nothing.

        From the load until the commit, nobody else changes the data key, its wraps or the active master key.

        Returns:
            `KeyDecision.new`; else the data key as it is now; None: the tenant has no such data key.
        """

    async def data_keys(self, query: DataKeyQuery, after: DataKeyPosition | None, limit: int) -> list[DataKeyRecord]:
        """Return a page of data keys, sorted by tenant and id.

        With `DataKeyQuery.wrapped_by`, they come with all their wraps, those under retired master keys included.
        """

    async def change_data_keys(self, query: DataKeyQuery, decide: DecideDataKey) -> Change[int]:
        """Decide about each data key of a query, and write those that differ; return the number of changed data keys.

        It works in pages, each a short transaction of its own, so that other writers do not wait long. A data key that
        another writer has changed meanwhile is left as it is. The wraps of a data key that becomes destroyed are
        deleted. A data key whose id is damaged stays, because tokens may still name its former id.
        """

    async def key_counts(self, tenant_id: str | None = None, min_age: timedelta | None = None) -> KeyCounts:
        """Count the keys of all tenants or of one, and if ``min_age`` is given those that are to be rotated."""

    async def rows_to_reseal(self, tenant_id: str | None, after: TokenKey | None, limit: int) -> list[SealedRow]:
        """Return tokens under decrypt_only data keys, of one tenant or of all, sorted by token key.

        A store may leave out tokens under data keys that are marked as emptied. Rows that cannot be decrypted stay
        under their data key. The caller skips them by a later ``after``.
        """

    async def reseal(self, rows: Sequence[Resealed]) -> int:
        """Replace each value by ``after`` if exactly ``before`` is still stored; return the number of replaced values.

        Generation, times, status and audit log do not change. If another writer changes a row at the same moment, the
        store may leave the row as that writer stored it, even if the value is still ``before``. Such a row is not
        counted, and a later call can replace its value. Rows are locked in the order given, so the caller sorts them by
        token key.

        Raises:
            DataKeyInactiveError: a value is sealed under a data key that is not active; nothing was written.
        """

    async def change_wraps(self, wraps: Sequence[PlacedWrap], *, replaced: bytes | None = None) -> int:
        """Store missing wraps, or delete those that they replace; return the number of stored or deleted wraps.

        Wraps under a master key that may not wrap now are ignored, and so are wraps of a destroyed data key.

        Args:
            wraps: wraps under the active master key, one for each data key. Stored wraps stay as they are.
            replaced: if given, a master key whose wraps of these data keys are deleted. Nothing is deleted for a data
                key whose wrap in ``wraps`` is not stored exactly so, so that no data key loses its last wrap.
        """
