"""What key operations found or did, as counts; key ids are hexadecimal text, since they are not secret."""

from datetime import datetime

from attrs import frozen

from vault_domain.entities.account import TokenKey
from vault_domain.entities.key_records import MasterKeyState

MOST_NAMED = 1000
"""How many tokens a report names one by one; it counts all."""


@frozen
class MasterKeyStatus:
    """How one master key stands.

    Attributes:
        key_id: its id.
        provider: who holds it: ``local`` or a key service.
        uri: its name at a key service; empty for a local one.
        state: see `MasterKeyState`.
        data_keys: how many data keys it wraps.
        is_open: whether this process can use it.
        is_configured: whether it is the one that `rotate_master_key` makes active here.
        created_at: UTC.
    """

    key_id: str
    provider: str
    uri: str
    state: MasterKeyState
    data_keys: int
    is_open: bool
    is_configured: bool
    created_at: datetime | None = None


@frozen
class KeyStatus:
    """How all keys stand; nothing is decrypted for it.

    Attributes:
        master_keys: in the order in which they were introduced, retired ones included.
        active: data keys that seal, one for each tenant that has stored anything.
        decrypt_only: data keys that only open what they have sealed.
        destroyed: data keys of which nothing but the id is left.
        tokens_to_reencrypt: tokens under data keys that are decrypt_only.
        wraps_missing: data keys that the configured master key does not wrap (yet).
    """

    master_keys: tuple[MasterKeyStatus, ...]
    active: int
    decrypt_only: int
    destroyed: int
    tokens_to_reencrypt: int
    wraps_missing: int

    @property
    def master_key_rotation_due(self) -> bool:
        """Whether `rotate_master_key` has something to do in this process."""
        live = [key for key in self.master_keys if key.is_open and key.state is not MasterKeyState.RETIRED]
        return self.wraps_missing > 0 or any(
            not key.is_configured or key.state is not MasterKeyState.ACTIVE for key in live
        )


@frozen
class DataKeyRotation:
    """What `rotate_data_key` did.

    Attributes:
        rotated: whether this call made a new key; False where the tenant has none, or somebody else was faster.
        data_key_id: the tenant's active data key now; None where it has none.
        tokens_to_reencrypt: the tenant's tokens that `reencrypt` has still to bring under it.
    """

    rotated: bool
    data_key_id: str | None
    tokens_to_reencrypt: int


@frozen
class DataKeyRotations:
    """What `rotate_data_keys` did, or would do.

    Attributes:
        due: how many tenants had a data key to rotate.
        rotated: how many of them have a new one since; none in a dry run.
        overtaken: tenants that somebody else rotated or erased at that moment.
        tokens_to_reencrypt: all tokens that `reencrypt` has still to bring under active data keys.
    """

    due: int
    rotated: int
    overtaken: int
    tokens_to_reencrypt: int


@frozen
class UnreadableKey:
    """A data key, or values under it, that could not be opened and was left as it is.

    Attributes:
        tenant_id: whose it is.
        data_key_id: which data key.
        count: how many values; for a data key that itself cannot be unwrapped, 1.
    """

    tenant_id: str
    data_key_id: str
    count: int


@frozen
class Reencryption:
    """What one run of `reencrypt` did.

    Attributes:
        reencrypted: values that were sealed anew.
        overtaken: values that somebody stored anew or deleted meanwhile; theirs stands.
        emptied: data keys under which no value is left now.
        destroyed: data keys that were emptied at least 24 hours ago, and whose wraps are deleted now.
        remaining: values that are still under data keys that only decrypt.
        unreadable: what could not be opened, by data key.
        unreadable_tokens: the places of the first thousand of those values, in the order of their keys.
    """

    reencrypted: int
    overtaken: int
    emptied: int
    destroyed: int
    remaining: int
    unreadable: tuple[UnreadableKey, ...] = ()
    unreadable_tokens: tuple[TokenKey, ...] = ()

    @property
    def unreadable_count(self) -> int:
        """How many values could not be opened."""
        return sum(key.count for key in self.unreadable)

    @property
    def incomplete(self) -> bool:
        """Whether values are left under old data keys."""
        return self.remaining > 0 or bool(self.unreadable)


@frozen
class MasterKeyRotation:
    """What one run of `rotate_master_key` did.

    Attributes:
        master_key_id: the configured master key, which is active now.
        activated: whether this run made it active.
        wrapped: data keys that it wraps since this run.
        unwrapped: wraps under other master keys that this run deleted.
        retired: master keys that this run retired.
        unreadable: data keys of which a wrap does not open, or opens to another key; nothing of them was deleted.
        in_use: other master keys of this process that still wrap something and so are not retired.
    """

    master_key_id: str
    activated: bool
    wrapped: int
    unwrapped: int
    retired: int
    unreadable: tuple[UnreadableKey, ...] = ()
    in_use: int = 0

    @property
    def incomplete(self) -> bool:
        """Whether the configuration cannot do without the previous master key yet."""
        return self.in_use > 0 or bool(self.unreadable)


@frozen
class ErasureReport:
    """What `erase_tenant` did, all of it in one transaction.

    Attributes:
        tokens: values that were deleted.
        accounts: accounts whose label and refresh state were deleted.
        data_keys: data keys that were destroyed.
        wraps: wraps of them that were deleted.
        audit_events: events that no longer say whose they are.
        checkpointed: SQLite: whether the write-ahead log was emptied, so that no file of the database holds what was
            deleted; an open reader prevents it. None: this does not apply, see the guide on erasure.
    """

    tokens: int
    accounts: int
    data_keys: int
    wraps: int
    audit_events: int
    checkpointed: bool | None = None
