"""DataKeyWrapper: makes data keys and their wraps; the keys in clear stay inside it."""

from typing import Protocol

from vault_domain.entities.key_records import DataKeyRecord, DataKeyWrap


class DataKeyWrapper(Protocol):
    """What rotating keys needs of the encryption.

    Raises:
        KeyUnavailableError: a master key cannot be asked now; or, not retryable, none that is open wraps the key.
    """

    async def make_data_key(self, tenant_id: str) -> DataKeyRecord:
        """Return a new data key, not stored yet, wrapped under every master key that this process can open."""

    async def make_missing_wraps(self, record: DataKeyRecord) -> tuple[DataKeyWrap, ...]:
        """Return the wraps that a data key lacks under the open master keys.

        Raises:
            UnreadableError: none of its wraps can be trusted.
        """

    async def wraps_agree(self, record: DataKeyRecord) -> bool:
        """Whether all its wraps under open master keys open, and to the same key."""
