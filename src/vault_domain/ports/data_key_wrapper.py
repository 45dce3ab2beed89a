"""DataKeyWrapper: creates data keys and wraps them; plaintext keys never leave it."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from vault_domain.entities.key_records import DataKeyRecord, DataKeyWrap

T = TypeVar("T")


class DataKeyWrapper(Protocol):
    """The cryptographic operations that key rotation needs.

    Raises:
        KeyUnavailableError: a master key cannot be used now (retryable), or none of the master keys that this process
            has opened wraps the data key (not retryable).
        ConfigurationError: the key service refuses permanently; see `MasterKey`.
    """

    async def store_new_data_key(
        self, tenant_id: str, store: Callable[[DataKeyRecord], Awaitable[T]], like: DataKeyRecord | None = None
    ) -> T:
        """Make a data key, wrapped under the active master key alone; return the result of passing it to ``store``.

        The tenant's own master key wraps it too, if it wraps ``like``, another data key of the tenant.

        If ``store`` raises KeyUnavailableError with reason ``retired_master_key``, because a rotation made another
        master key active, make another data key under the new active master key and call ``store`` again.

        Raises:
            UnreadableError: ``like`` does not open; nothing was made or sent.
        """

    async def make_missing_wrap(self, record: DataKeyRecord) -> DataKeyWrap | None:
        """Return a new wrap of a data key under the configured master key; None if the data key has one already.

        Raises:
            UnreadableError: the data key cannot be unwrapped, or its state or the audit log says that it was destroyed.
        """

    async def wraps_agree(self, record: DataKeyRecord) -> bool:
        """Return whether all wraps under master keys that this process has opened hold the same data key.

        If there is no such wrap, return False.
        """

    async def check_tenant_key(self, uri: str) -> None:
        """Return normally if a master key of a key service can wrap and unwrap now.

        Args:
            uri: names the master key.

        Raises:
            ConfigurationError: the URI names no key of a key service that the vault knows, or the service refuses.
            KeyUnavailableError: the key service does not answer.
        """

    async def tenant_key_problem(self, uri: str) -> str | None:
        """Return the reason why a master key of a key service cannot be used now, or None if it can."""

    async def tenant_key_uri(self, record: DataKeyRecord) -> str | None:
        """Return the URI of the tenant's own master key that wraps a data key; None if there is none.

        Only the vault's master key is asked, which shows that the vault has written the URI.

        Raises:
            UnreadableError: the wraps of the data key were changed.
        """

    async def open_uri(self, record: DataKeyRecord) -> str | None:
        """Unwrap a data key, and return what `tenant_key_uri` returns.

        Raises:
            UnreadableError: see `make_missing_wrap`.
        """

    async def move(self, record: DataKeyRecord, uri: str | None) -> DataKeyWrap:
        """Return a new wrap of a data key: under the active master key, and under the tenant's own if ``uri`` is one.

        Raises:
            UnreadableError: see `make_missing_wrap`.
        """
