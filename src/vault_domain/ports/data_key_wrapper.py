"""DataKeyWrapper: creates data keys and wraps them; plaintext keys never leave it."""

from typing import Protocol

from vault_domain.entities.key_records import DataKeyRecord, DataKeyWrap


class DataKeyWrapper(Protocol):
    """The cryptographic operations that key rotation needs.

    Raises:
        KeyUnavailableError: a master key cannot be used now (retryable), or no open master key wraps the data key
            (not retryable).
    """

    async def make_data_key(self, tenant_id: str) -> DataKeyRecord:
        """Return a new data key, not stored yet, wrapped under every master key that this process can open."""

    async def make_missing_wraps(self, record: DataKeyRecord) -> tuple[DataKeyWrap, ...]:
        """Return a new wrap of a data key for each open master key that does not wrap it yet.

        Raises:
            UnreadableError: the data key cannot be unwrapped.
        """

    async def wraps_agree(self, record: DataKeyRecord) -> bool:
        """Return whether some wrap is under an open master key, and all such wraps decrypt to the same data key."""
