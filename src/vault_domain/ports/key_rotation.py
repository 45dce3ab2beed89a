"""KeyRotationRepository: moves data keys and master keys through their states while everything else goes on.

Each method is one short transaction of its own, and harmless when it is called again or by two processes at once:
the state of a rotation is the data itself. At every commit each data key that is not destroyed has a wrap under a
master key that is not retired.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from attrs import frozen

from vault_domain.account import TokenKey
from vault_domain.key import DataKeyRecord, DataKeyWrap, MasterKeyRecord
from vault_domain.token import SealedToken


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
class KeyCounts:
    """How a rotation stands.

    Attributes:
        wraps: how many data keys each master key wraps, by its id; master keys without any included.
        active: active data keys.
        decrypt_only: data keys that only open values.
        destroyed: tombstones.
        tokens_to_reseal: tokens under a decrypt_only data key.
    """

    wraps: dict[bytes, int]
    active: int
    decrypt_only: int
    destroyed: int
    tokens_to_reseal: int


class DataKeyWrapper(Protocol):
    """Makes data keys and wraps; the keys in clear stay inside it."""

    async def new_data_key(self, tenant_id: str) -> DataKeyRecord:
        """Return a new data key, not stored yet, wrapped under every master key that this process can open."""

    async def missing_wraps(self, record: DataKeyRecord) -> tuple[DataKeyWrap, ...]:
        """Return the wraps that a data key lacks under the open master keys.

        Raises:
            UnreadableError: none of its wraps can be trusted.
            KeyUnavailableError: no master key that wraps it can be used now.
        """


class KeyRotationRepository(Protocol):
    """What rotating either level of keys needs of the tables.

    `KeyRepository.create_data_key` and `replace_active_data_key` take part: they leave out wraps under a retired
    master key and, where none is left, store nothing and raise KeyUnavailableError with reason
    ``retired_master_key``. They read those master key rows ``FOR SHARE``, which `retire_master_key` locks ``FOR
    UPDATE``; on SQLite both are immediate transactions.
    """

    async def key_counts(self, tenant_id: str | None = None) -> KeyCounts:
        """Count, over all tenants or for one."""

    async def replace_active_data_key(self, replaced: bytes, record: DataKeyRecord) -> DataKeyRecord:
        """Make a new data key the active one and the replaced one decrypt_only; return the tenant's active one.

        Where the active key is not ``replaced`` any more, somebody else rotated: nothing changes.
        """

    async def rows_to_reseal(self, tenant_id: str | None, after: TokenKey | None, limit: int) -> list[SealedRow]:
        """Return tokens under decrypt_only data keys, of one tenant or of all, in the order of their keys.

        Rows that cannot be opened stay where they are and come again; ``after`` passes over them.
        """

    async def reseal(self, rows: Sequence[Resealed]) -> int:
        """Replace values whose row still holds exactly ``before``; return how many.

        Generation, times, status and audit log stay as they are. Rows are updated in the order of their keys.

        Raises:
            DataKeyInactiveError: a value is sealed under a data key that is not active; nothing was written.
        """

    async def mark_swept(self, tenant_id: str | None) -> int:
        """Note the time on decrypt_only data keys that no token is under any more; return how many.

        A time that was noted stays. No token can come back under such a key, since writes need an active one.
        """

    async def destroy_swept(self, tenant_id: str | None, swept_before: datetime) -> int:
        """Delete the wraps of decrypt_only data keys that were swept before then, keeping tombstones; count them."""

    async def activate_master_key(self, key_id: bytes) -> list[MasterKeyRecord]:
        """Make a master key active and the one that was unwrap_only, in one statement; return all records.

        A key that is retired or not there is left alone, and so is the active one then.
        """

    async def data_keys_without_wrap(
        self, master_key_id: bytes, after: tuple[str, bytes] | None, limit: int
    ) -> list[DataKeyRecord]:
        """Return data keys, not destroyed, that this master key does not wrap, by tenant and id."""

    async def add_wraps(self, wraps: Sequence[tuple[str, bytes, DataKeyWrap]]) -> list[DataKeyRecord]:
        """Store wraps of data keys (tenant, id); return those data keys as they were read after the commit.

        A wrap that is there stays. Left out are wraps under a retired master key, and of a data key that was
        destroyed meanwhile.
        """

    async def delete_wraps(self, master_key_id: bytes, limit: int) -> int:
        """Delete wraps under a master key that is not active, of data keys that the active one wraps; count them."""

    async def retire_master_key(self, key_id: bytes) -> bool:
        """Retire a master key; return False, and change nothing, where it is active or still wraps anything."""
