"""KeyRotationRepository: moves data keys and master keys through their states while everything else goes on.

Each method is one short transaction of its own, and harmless when it is called again or by two processes at once:
the state of a rotation is the data itself. At every commit each data key that is not destroyed has a wrap under a
master key that is not retired.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from attrs import frozen

from vault_domain.entities.account import TokenKey
from vault_domain.entities.key_records import DataKeyRecord, DataKeyWrap, MasterKeyRecord
from vault_domain.entities.token import SealedToken
from vault_domain.ports.change import Change

DataKeyPosition = tuple[str, bytes]
"""A data key's tenant and id: the position behind which a page of data keys begins."""


@frozen
class SealedRow:
    """A token's place and its sealed value."""

    key: TokenKey
    sealed: SealedToken


@frozen
class Resealed:
    """A value that was sealed anew: what is to be in the row, and what must still be there."""

    key: TokenKey
    before: SealedToken
    after: SealedToken


@frozen
class PlacedWrap:
    """A wrap and the data key that it is of."""

    tenant_id: str
    data_key_id: bytes
    wrap: DataKeyWrap


@frozen
class KeyCounts:
    """How the keys stand.

    Attributes:
        wraps: how many data keys each master key wraps, by its id; master keys without any are left out.
        active: active data keys.
        decrypt_only: data keys that only open values.
        destroyed: tombstones.
        tokens_to_reseal: tokens under a decrypt_only data key that was not emptied.
    """

    wraps: dict[bytes, int]
    active: int
    decrypt_only: int
    destroyed: int
    tokens_to_reseal: int


class KeyRotationRepository(Protocol):
    """What rotating either level of keys needs of the tables.

    `KeyRepository.create_data_key` and `replace_active_data_key` take part: they leave out wraps under a retired
    master key and, where none is left, store nothing and raise KeyUnavailableError with reason
    ``retired_master_key``. They read those master key rows ``FOR SHARE``, which `retire_master_key` locks ``FOR
    UPDATE``; on SQLite both are immediate transactions.
    """

    async def key_counts(self, tenant_id: str | None = None) -> KeyCounts:
        """Count, over all tenants or for one."""

    async def count_data_keys_to_rotate(self, age: timedelta) -> int:
        """Count the active data keys that were made that long ago."""

    async def data_keys_to_rotate(self, age: timedelta, after: str, limit: int) -> list[DataKeyPosition]:
        """Return those data keys behind a tenant's id, in the order of the tenants, each of which has one."""

    async def replace_active_data_key(
        self, replaced: bytes, record: DataKeyRecord, *, actor: str | None
    ) -> Change[DataKeyRecord | None]:
        """Make a new data key the active one and the replaced one decrypt_only; return the tenant's active one.

        Where the active key is not ``replaced`` any more, somebody else rotated or erased: nothing changes.
        """

    async def rows_to_reseal(self, tenant_id: str | None, after: TokenKey | None, limit: int) -> list[SealedRow]:
        """Return tokens under decrypt_only data keys, of one tenant or of all, in the order of their keys.

        Rows that cannot be opened stay where they are and come again; ``after`` passes over them.
        """

    async def reseal(self, rows: Sequence[Resealed]) -> int:
        """Replace values whose row still holds exactly ``before``; return how many.

        Generation, times, status and audit log stay as they are. Rows are locked in the order given, which must be
        that of their keys.

        Raises:
            DataKeyInactiveError: a value is sealed under a data key that is not active; nothing was written.
        """

    async def mark_emptied(self, tenant_id: str | None) -> int:
        """Note the time on decrypt_only data keys that no token is under any more; return how many.

        A time that was noted stays. No token can come back under such a key, since writes need an active one.
        """

    async def destroy_emptied(self, tenant_id: str | None, age: timedelta, *, actor: str | None) -> Change[int]:
        """Delete the wraps of decrypt_only data keys that were emptied that long ago, keeping tombstones; count them.

        One that a token is under again, which only a restored row can be, loses the note of its sweep instead.
        """

    async def activate_master_key(
        self, key_id: bytes, replaced: bytes, *, actor: str | None
    ) -> Change[list[MasterKeyRecord]]:
        """Make a master key active and the replaced one unwrap_only; return all records.

        Nothing changes where ``replaced`` is not active any more, or the other is retired or not there.
        """

    async def data_keys_without_wrap(
        self, master_key_id: bytes, after: DataKeyPosition | None, limit: int
    ) -> list[DataKeyRecord]:
        """Return data keys, not destroyed, that this master key does not wrap, by tenant and id."""

    async def data_keys_with_wrap(
        self, master_key_id: bytes, after: DataKeyPosition | None, limit: int
    ) -> list[DataKeyRecord]:
        """Return data keys that this master key wraps, with all their wraps, by tenant and id."""

    async def add_wraps(self, wraps: Sequence[PlacedWrap]) -> int:
        """Store wraps of data keys; return how many were not there.

        A wrap that is there stays. Left out are wraps under a retired master key, and of a data key that was
        destroyed meanwhile.
        """

    async def delete_wraps(self, master_key_id: bytes, kept: Sequence[PlacedWrap]) -> int:
        """Delete the wraps of data keys under a master key, where exactly the kept wrap is stored; return how many.

        Args:
            master_key_id: whose wraps go.
            kept: one wrap per data key, under the active master key; where that is not active any more, nothing is
                deleted.
        """

    async def retire_master_key(self, key_id: bytes, *, actor: str | None) -> Change[bool]:
        """Retire a master key; return False, and change nothing, where it is active or still wraps anything.

        One that is retired already is True without an event.
        """
