"""Cipher: encrypts each value for one token key; the value decrypts for that key only."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from vault_domain.entities.account import TokenKey
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken

DESTROYED_KEY = "destroyed_key"
"""Reason: the data key belonged to this tenant and was destroyed."""


NO_ACTIVE_KEY = "no_active_key"
"""Reason: the tenant has no active data key, because the tenant was erased meanwhile."""


class UnreadableError(Exception):
    """A sealed value does not decrypt for its token key, or a data key cannot be used.

    Attributes:
        reason: a code for operators, such as ``tag``, ``unknown_key`` or `DESTROYED_KEY`; callers of the vault get the
            same `DecryptionError` whatever the reason.
        data_key_id: id of the data key that caused the error; None: the data key of the value.
    """

    def __init__(self, reason: str, data_key_id: bytes | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.data_key_id = data_key_id


class Sealer(Protocol):
    """Seals under fixed data keys, one for each tenant, without I/O; see `Cipher.sealer` and `Cipher.ensure_sealer`."""

    def __call__(self, key: TokenKey, secret: Secret, extra: Secret | None = None) -> SealedToken:
        """Seal a value, and the text of its extra members if there are any, for a key."""


class Opening(Protocol):
    """Decrypts one value and its extra members, without I/O; see `Cipher.opening`. It holds no plaintext."""

    def __call__(self) -> tuple[Secret, Secret | None] | None:
        """Return the value, and the text of its extra members or None.

        The whole result is None if the data key is no longer held in memory, or if something does not decrypt.
        """


class Cipher(Protocol):
    """Encrypts values under the tenant's active data key, bound to tenant, provider, kind and identifier.

    Raises:
        KeyUnavailableError: the master key cannot be used now.
        DecryptionError: `seal`, `ensure_sealer` and `sealer` raise this if the wrap of a tenant's active data key was
            changed, or if the state of this data key was set back.
    """

    async def seal(
        self, values: Sequence[tuple[TokenKey, Secret]], extras: Sequence[Secret | None] = ()
    ) -> list[SealedToken]:
        """Seal values for their keys; create a data key for each tenant that has none.

        Args:
            values: the values and their keys.
            extras: for each value, in the same order, the text of its extra members, or None. This text opens only
                together with the same sealed value. An empty sequence: no value has extra members.
        """

    async def ensure_sealer(self, tenant_ids: Iterable[str]) -> Sealer:
        """Return a function that seals for these tenants; create a data key for each tenant that has none.

        For each tenant, the function always seals under the same data key: the one that is active at the time of this
        call.

        Args:
            tenant_ids: the tenants of all keys for which the function is called.
        """

    async def sealer(self, tenant_id: str) -> Sealer:
        """Return a function that always seals under the same data key: the one that is active at the time of this call.

        Raises:
            UnreadableError: the tenant has no active data key; the reason is `NO_ACTIVE_KEY`.
        """

    def open_at_hand(self, key: TokenKey, sealed: SealedToken) -> Secret | None:
        """Return what `open` returns, if the data key is held in memory and the value decrypts; else None."""

    async def open(self, key: TokenKey, sealed: SealedToken) -> Secret:
        """Decrypt a value for the key that the caller asked for.

        Args:
            key: the caller's own key, never one that was read from the row.
            sealed: the value in the row.

        Raises:
            UnreadableError: the value belongs to another key, was changed, or its data key is gone.
        """

    def opening(self, key: TokenKey, sealed: SealedToken) -> Opening | None:
        """Return a function that decrypts a value and its extra members without waiting, as often as it is called.

        Args:
            key: see `open`.
            sealed: see `open`.

        Returns:
            The function. None if the data key is not held in memory, or if the value is not sealed for ``key``; `open`
            and `open_extra` then find the data key or raise the error.
        """

    async def confirm(self, tenant_id: str, data_key_id: bytes) -> None:
        """Return normally if a data key may still open values; the store is asked, whatever is held in memory.

        Raises:
            UnreadableError: the tenant has no such data key, or it was destroyed, as by an erasure in another process.
        """

    async def open_extra(self, key: TokenKey, sealed: SealedToken) -> Secret:
        """Decrypt the extra members that were sealed together with this value; ``sealed.extra`` is not None.

        Args:
            key: see `open`.
            sealed: see `open`.

        Raises:
            UnreadableError: the members belong to another key or value, were changed, or their data key is gone.
        """

    async def reseal(self, values: Sequence[tuple[TokenKey, SealedToken]]) -> list[SealedToken | UnreadableError]:
        """Seal values and their extra members again under their tenants' active data keys.

        Plaintext never leaves the cipher.

        Unlike `seal`, this creates no data key, because a tenant with values has an active one unless the tenant was
        erased meanwhile.

        Returns:
            One item per value, in the same order: the sealed value, or an error that a retry would meet again.
        """

    def forget_active(self, tenant_ids: Iterable[str]) -> None:
        """Forget which data keys of these tenants are active; the next seal asks the store."""

    def forget_tenant(self, tenant_id: str) -> None:
        """Drop all cached data keys of a tenant that was erased."""

    async def key_problems(self, tenant_ids: Iterable[str]) -> Mapping[str, str]:
        """Return why tenants' own master keys cannot be used now, by tenant: a reason of `OF_ONE_TENANT`.

        Tenants whose values can be opened are left out, as long as they are opened with a data key that is held in
        memory too; and so are tenants about which nothing is known after some seconds.
        """

    async def check(self) -> None:
        """Return normally if the active master key can be used now; raise an error otherwise."""
