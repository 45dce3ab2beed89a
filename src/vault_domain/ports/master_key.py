"""MasterKey: wraps and unwraps the tenants' data keys; it may be held by a key service."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from attrs import frozen


class MasterKey(Protocol):
    """One master key that this process can use.

    Raises:
        KeyUnavailableError: the key service cannot be reached or refuses temporarily.
        ConfigurationError: the key service refuses permanently: access denied, key disabled or deleted.
    """

    @property
    def key_id(self) -> bytes:
        """The key's id: 16 bytes, as in its `MasterKeyRecord`."""

    async def wrap(self, data_key: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """Encrypt a data key, bound to its tenant and its id.

        Args:
            data_key: 32 bytes.
            tenant_id: the tenant that the data key belongs to.
            data_key_id: 16 bytes.
        """

    async def unwrap(self, wrapped: bytes, tenant_id: str, data_key_id: bytes) -> bytes:
        """Decrypt a data key that `wrap` encrypted for the same tenant and id.

        Raises:
            UnreadableError: the wrap was changed, or belongs to another tenant, id or master key.
        """

    async def check(self) -> None:
        """Return normally if the key can wrap and unwrap now; raise otherwise."""


@frozen(eq=False, repr=False)
class MasterKeys:
    """The master keys that this process can use; a snapshot taken when the vault was opened.

    Attributes:
        opened: the master keys by key id; they include the active one and no retired one.
        active_id: the id of the master key that is active in the database.
        configured_id: the id of the configured master key; a master key rotation makes it active.
    """

    opened: Mapping[bytes, MasterKey]
    active_id: bytes
    configured_id: bytes

    @property
    def active(self) -> MasterKey:
        """The active master key."""
        return self.opened[self.active_id]

    def __iter__(self) -> Iterator[MasterKey]:
        """Iterate over all master keys, the active one first."""
        yield self.active
        yield from (key for key_id, key in self.opened.items() if key_id != self.active_id)
