"""Reports of key operations, as counts. They show key ids as hexadecimal text, because key ids are not secret."""

from datetime import datetime

from attrs import frozen

from vault_domain.entities.account import TokenKey
from vault_domain.entities.key_records import MasterKeyState

MOST_NAMED = 1000
"""Largest number of tokens that a report lists; its counts include all tokens."""


@frozen
class MasterKeyStatus:
    """The status of one master key.

    Attributes:
        key_id: the key's id.
        provider: holder of the key: ``local`` or a key service.
        uri: the key's name at a key service; empty for a local key.
        state: see `MasterKeyState`.
        data_keys: number of data keys that the key wraps; if the status is of one tenant, only this tenant's.
        is_open: whether this process can use the key.
        is_configured: whether it is the configured master key, which `rotate_master_key` makes active.
        created_at: time at which the key's record was first stored, UTC.
        is_resurrected: whether the key was set back to a state that the audit log contradicts. Such a key is not used.
    """

    key_id: str
    provider: str
    uri: str
    state: MasterKeyState
    data_keys: int
    is_open: bool
    is_configured: bool
    created_at: datetime | None = None
    is_resurrected: bool = False


@frozen
class KeyStatus:
    """The status of all master keys, and of the data keys of all tenants or of one; computed without decrypting.

    Attributes:
        master_keys: all master keys, including retired ones, oldest record first.
        active: number of active data keys; a tenant has at most one.
        decrypt_only: number of data keys that only decrypt.
        destroyed: number of destroyed data keys, whose records are tombstones.
        tokens_to_reencrypt: number of tokens under data keys that are decrypt_only and not marked as emptied.
        wraps_missing: number of data keys that the configured master key does not wrap yet.
        resurrected: number of data keys that were set back to a state that the audit log contradicts. Such a data key
            seals nothing; if it was destroyed before, it opens nothing either.
        tenant_master_key: the URI of the tenant's own master key; None if it has none, or if no tenant was asked for.
        tenant_key_problem: why this process cannot use that key now, asked at its key service: ``key_denied``, or
            another reason or code. ``data_key_changed`` if the tenant's data key was changed: then
            no key service is asked, and `tenant_master_key` is None. None if the key can be used.
    """

    master_keys: tuple[MasterKeyStatus, ...]
    active: int
    decrypt_only: int
    destroyed: int
    tokens_to_reencrypt: int
    wraps_missing: int
    resurrected: int = 0
    tenant_master_key: str | None = None
    tenant_key_problem: str | None = None

    @property
    def master_key_rotation_due(self) -> bool:
        """Whether a call of `rotate_master_key` in this process would have anything to do."""
        live = [
            key
            for key in self.master_keys
            if (key.is_open or key.is_resurrected) and key.state is not MasterKeyState.RETIRED
        ]
        return self.wraps_missing > 0 or any(
            not key.is_configured or key.state is not MasterKeyState.ACTIVE for key in live
        )


@frozen
class DataKeyRotation:
    """The result of `rotate_data_key`.

    Attributes:
        rotated: whether this call created a new key. It is False in a dry run. It is also False if the tenant has no
            active data key, or if another process rotated the key or erased the tenant first.
        data_key_id: id of the tenant's active data key; None if it has none.
        tokens_to_reencrypt: number of the tenant's tokens that `reencrypt` must still encrypt under the new key; in a
            dry run, the number that it would have to encrypt after the rotation.
    """

    rotated: bool
    data_key_id: str | None
    tokens_to_reencrypt: int


@frozen
class UnreadableKey:
    """A data key that could not be unwrapped, or whose values could not be decrypted. Key and values stay unchanged.

    Attributes:
        tenant_id: the tenant that the data key belongs to.
        data_key_id: id of the data key.
        count: number of values that could not be re-encrypted because of this data key; 1 in the report of a
            rotation.
    """

    tenant_id: str
    data_key_id: str
    count: int


@frozen
class DataKeyRotations:
    """The result of `rotate_data_keys`, or of its dry run.

    Attributes:
        due: number of tenants whose data key was due for rotation.
        rotated: number of tenants that got a new data key; 0 in a dry run.
        overtaken: number of tenants that were erased, or whose data key another process rotated, meanwhile.
        unavailable: number of tenants whose own master key could not be used; they keep their data keys.
        unreadable: the data keys that do not open, because somebody has changed them. They stay, and no new key is
            made like them.
        tokens_to_reencrypt: number of tokens that `reencrypt` must still encrypt under active data keys; in a dry run,
            the number that it would have to encrypt after the rotation.
    """

    due: int
    rotated: int
    overtaken: int
    tokens_to_reencrypt: int
    unavailable: int = 0
    unreadable: tuple[UnreadableKey, ...] = ()

    @property
    def incomplete(self) -> bool:
        """Whether data keys stayed because they could not be opened."""
        return bool(self.unreadable)


@frozen
class TenantMasterKey:
    """The result of `set_tenant_master_key`.

    Attributes:
        tenant_id: the tenant.
        uri: names the tenant's own master key; None: the tenant's data keys are under the vault's master key.
        moved: number of data keys that this call moved.
        unreadable: data keys that cannot be unwrapped, because somebody has changed them; they stay as they are.
    """

    tenant_id: str
    uri: str | None
    moved: int
    unreadable: tuple[UnreadableKey, ...] = ()

    @property
    def incomplete(self) -> bool:
        """Whether data keys remain under another master key."""
        return bool(self.unreadable)


@frozen
class Reencryption:
    """The result of one run of `reencrypt`.

    Attributes:
        reencrypted: number of values that were encrypted under an active data key.
        overtaken: how often this run did not write a value, because another writer had changed or deleted its row
            meanwhile. If the value is still under an old data key, the next pass of this run re-encrypts it, and it
            then counts in ``reencrypted`` too.
        emptied: number of old data keys that this run marked as emptied, because no value uses them any more.
        destroyed: number of data keys that this run destroyed: those that were emptied at least 24 hours ago; with
            ``compromised``, all emptied ones.
        remaining: number of values that are still under data keys that are decrypt_only and not marked as emptied.
        unreadable: the data keys because of which values could not be re-encrypted: a value's old data key, or the
            tenant's active data key if that one cannot be unwrapped.
        unreadable_tokens: keys of the first thousand tokens whose values could not be re-encrypted, sorted.
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
        """Number of values that could not be re-encrypted."""
        return sum(key.count for key in self.unreadable)

    @property
    def incomplete(self) -> bool:
        """Whether values remain under old data keys."""
        return self.remaining > 0 or bool(self.unreadable)


@frozen
class MasterKeyRotation:
    """The result of one run of `rotate_master_key`.

    Attributes:
        master_key_id: id of the configured master key, which is active now.
        activated: whether this run made it active.
        wrapped: number of data keys that this run wrapped under it.
        unwrapped: number of wraps that this run deleted, all of them under other master keys.
        retired: number of master keys that this run retired.
        unreadable: data keys that could not be unwrapped, or whose wraps do not decrypt to one and the same data key;
            all their wraps stay.
        in_use: number of previous master keys that were not retired, because they still wrap data keys.
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
        """Whether the configuration must keep the previous master key."""
        return self.in_use > 0 or bool(self.unreadable)


@frozen
class ErasureReport:
    """The result of `erase_tenant`.

    Attributes:
        tokens: number of deleted tokens.
        accounts: number of accounts that held a token. Tokens, labels and refresh states of all accounts were deleted.
        data_keys: number of destroyed data keys.
        wraps: number of deleted wraps.
        audit_events: number of earlier audit events from which tenant and identifier were removed.
        checkpointed: SQLite only: whether the write-ahead log was emptied, so that no file of the database holds the
            deleted rows. False if an open reader or an error prevented it. None on other stores; see the guide on
            erasure.
    """

    tokens: int
    accounts: int
    data_keys: int
    wraps: int
    audit_events: int
    checkpointed: bool | None = None
