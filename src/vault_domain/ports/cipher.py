"""Cipher: seals values for their place and opens them there, and only there."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from vault_domain.entities.account import TokenKey
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken

DESTROYED_KEY = "destroyed_key"
"""The reason where the data key was this tenant's, and was destroyed."""


NO_ACTIVE_KEY = "no_active_key"
"""The reason where a tenant that had values has no active data key: it was erased."""


class UnreadableError(Exception):
    """A sealed value does not open in its place.

    Attributes:
        reason: a code for operators (header, commitment, tag, unknown_key, `DESTROYED_KEY`); callers get one
            `DecryptionError`.
        data_key_id: the data key that is to blame, where that is another than the value's own.
    """

    def __init__(self, reason: str, data_key_id: bytes | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.data_key_id = data_key_id


class Cipher(Protocol):
    """Encrypts under the tenant's active data key, bound to tenant, provider, kind and identifier.

    Raises:
        KeyUnavailableError: the master key cannot be asked now.
    """

    async def seal(self, values: Sequence[tuple[TokenKey, Secret]]) -> list[SealedToken]:
        """Seal values for their keys; makes a tenant's first data key where there is none."""

    async def sealer(self, tenant_id: str) -> Callable[[TokenKey, Secret], SealedToken]:
        """Return a function that seals under the tenant's present active key, however long it is kept.

        Raises:
            UnreadableError: `NO_ACTIVE_KEY`.
        """

    async def open(self, key: TokenKey, sealed: SealedToken) -> Secret:
        """Open a value in the place that the caller asked for.

        Args:
            key: from the caller, never from the row.
            sealed: the row's value.

        Raises:
            UnreadableError: it does not belong there, was changed, or its key is gone.
        """

    async def reseal(self, values: Sequence[tuple[TokenKey, SealedToken]]) -> list[SealedToken | UnreadableError]:
        """Seal values anew under their tenants' present active keys; none of them leaves the cipher in clear.

        Unlike `seal` it makes no data key: whoever has values has one, unless it was erased meanwhile.

        Returns:
            One for each value, in their order: an error where it cannot be had here, however often one asks.
        """

    def forget_active(self, tenant_ids: Iterable[str]) -> None:
        """Look the active key of these tenants up again before the next seal."""

    def forget_tenant(self, tenant_id: str) -> None:
        """Forget all keys of a tenant, which was erased."""

    async def check(self) -> None:
        """Return if the master key can be used now."""
