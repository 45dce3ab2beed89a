"""KeyRotationRepository: moves data keys and master keys through their states while the vault is in use.

Each method is one short transaction, except for `destroy_emptied`, which runs several. Repeated and concurrent calls
are harmless, because the stored data shows how far a rotation got. At every commit, each data key that is not destroyed
has a wrap under a master key that is not retired. The methods make only the changes of a key's state that
`vault_domain.rules.key_states` lists.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from attrs import frozen

from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import KeyUnavailableError
from vault_domain.entities.key_records import DataKeyRecord, DataKeyWrap
from vault_domain.entities.token import SealedToken
from vault_domain.ports.change import Change

RETIRED_MASTER_KEY = "retired_master_key"
"""Reason: a new data key was wrapped under a master key that a rotation has replaced, so it was not stored."""

DataKeyPosition = tuple[str, bytes]
"""The tenant and the id of a data key. A page of data keys begins after such a position."""


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
    """

    wraps: dict[bytes, int]
    active: int
    decrypt_only: int
    destroyed: int
    tokens_to_reseal: int
    resurrected: int = 0


def no_active_master_key() -> KeyUnavailableError:
    """Return the error for a new data key that the active master key does not wrap."""
    return KeyUnavailableError("the master key is no longer active", reason=RETIRED_MASTER_KEY)


class KeyRotationRepository(Protocol):
    """Reads and writes the tables for the rotation of data keys and master keys.

    A wrap is stored only under the master key that is active at that moment. This holds for
    `KeyRepository.create_data_key`, `replace_active_data_key` and `add_wraps`:

    - They leave out all other wraps. A master key does not count as active if the audit log contradicts that state
      (see `is_resurrected_master_key`).
    - If no wrap of a new data key is left, they store nothing and raise `no_active_master_key`.
    - They wait for a running `KeyRepository.change_master_keys`, and it waits for them. On Postgres, they read the
      master key's row ``FOR SHARE``, and it locks the table. On SQLite, all run in immediate transactions.

    So every data key that was stored before an activation has a wrap under the previous master key, by which the
    rotation finds this data key. Every data key that is stored later has a wrap under the new master key.
    """

    async def key_counts(self, tenant_id: str | None = None) -> KeyCounts:
        """Count the keys of all tenants or of one."""

    async def count_data_keys_to_rotate(self, age: timedelta) -> int:
        """Count the active data keys that are at least ``age`` old."""

    async def count_tokens_to_rotate(self, age: timedelta, tenant_id: str | None = None) -> int:
        """Count the tokens, of all tenants or of one, under active data keys that are at least ``age`` old."""

    async def data_keys_to_rotate(self, age: timedelta, after: str, limit: int) -> list[DataKeyPosition]:
        """Of the tenants after ``after``, return the active data keys at least ``age`` old, sorted by tenant id."""

    async def replace_active_data_key(
        self, replaced: bytes, record: DataKeyRecord, *, actor: str | None
    ) -> Change[DataKeyRecord | None]:
        """Store a new active data key and make the replaced one decrypt_only; return the tenant's active data key.

        The events are DATA_KEY_REPLACED with the id of the replaced data key, and DATA_KEY_ROTATED with the id of the
        new one. Nothing changes if ``replaced`` is no longer active. In this case, another process has replaced it or
        erased the tenant.
        """

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

    async def mark_emptied(self, tenant_id: str | None) -> int:
        """Set the time `emptied_at` on decrypt_only data keys that no token uses; return the number of marked keys.

        A time that is already set does not change. No new token can use such a data key, because writes need an
        active one.
        """

    async def destroy_emptied(self, tenant_id: str | None, age: timedelta, *, actor: str | None) -> Change[int]:
        """Destroy decrypt_only data keys that were emptied at least ``age`` ago; return the number of destroyed keys.

        It works in pages, each a short transaction of its own, so that other writers do not wait long. It deletes the
        data keys' wraps and keeps their records as tombstones. If a token uses an emptied data key again, because a
        backup restored the token's row, the data key stays and its `emptied_at` is cleared. A data key whose id is
        damaged stays too, because tokens may still name its former id.
        """

    async def data_keys_without_wrap(
        self, master_key_id: bytes, after: DataKeyPosition | None, limit: int
    ) -> list[DataKeyRecord]:
        """Return data keys, none of them destroyed, without a wrap under this master key, sorted by tenant and id."""

    async def data_keys_with_wrap(
        self, master_key_id: bytes, after: DataKeyPosition | None, limit: int
    ) -> list[DataKeyRecord]:
        """Return data keys that this master key wraps, with all their wraps, sorted by tenant and id."""

    async def add_wraps(self, wraps: Sequence[PlacedWrap]) -> int:
        """Store missing wraps of data keys; return the number of stored wraps.

        Existing wraps stay. Wraps under a master key that is not active and wraps of a destroyed data key are left out.
        """

    async def delete_wraps(self, master_key_id: bytes, kept: Sequence[PlacedWrap]) -> int:
        """Delete, for each data key in ``kept``, its wrap under ``master_key_id``; return the number of deleted wraps.

        Each data key's wrap in ``kept`` must still be stored unchanged. Otherwise nothing is deleted for this data key,
        so that it does not lose its last wrap.

        Args:
            master_key_id: the master key whose wraps are deleted.
            kept: one wrap per data key, under the active master key; nothing is deleted if that master key is no longer
                active.
        """
