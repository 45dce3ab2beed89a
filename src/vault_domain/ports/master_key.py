"""MasterKey: wraps and unwraps the tenants' data keys; it may live in a key service."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from attrs import frozen


class MasterKey(Protocol):
    """One master key that this process can use.

    Raises:
        KeyUnavailableError: the key service cannot be reached or refuses for now.
        ConfigurationError: it refuses for good: access denied, key disabled or gone.
    """

    @property
    def key_id(self) -> bytes:
        """16 bytes, those of its `MasterKeyRecord`."""

    async def wrap(self, data_key: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """Encrypt a data key, bound to its tenant and its id.

        Args:
            data_key: 32 bytes.
            tenant_id: whose key it is.
            data_key_id: 16 bytes.
        """

    async def unwrap(self, wrapped: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """Decrypt what `wrap` gave for the same tenant and id.

        Raises:
            UnreadableError: it was changed, or made for another tenant, id or master key.
        """

    async def check(self) -> None:
        """Return if the key can wrap and unwrap now."""


@frozen
class MasterKeys:
    """The master keys that this process can use, as they stood when the vault was opened.

    Attributes:
        opened: by key id; the active one is among them, none is retired.
        active_id: the one that the database has as active.
        configured_id: the one that is configured as current: what a rotation of the master key makes active.
    """

    opened: Mapping[bytes, MasterKey]
    active_id: bytes
    configured_id: bytes

    @property
    def active(self) -> MasterKey:
        """The active one."""
        return self.opened[self.active_id]

    def __iter__(self) -> Iterator[MasterKey]:
        """Iterate over all of them, the active one first."""
        yield self.active
        yield from (key for key_id, key in self.opened.items() if key_id != self.active_id)
