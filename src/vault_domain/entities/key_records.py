"""The key hierarchy as the database holds it: master keys wrap the tenants' data keys."""

from datetime import datetime

from attrs import field, frozen

from vault_domain.entities.choice import Choice


class MasterKeyState(Choice):
    """The states of a master key: introduced (unwrap_only) -> active (exactly one) -> unwrap_only -> retired.

    The first master key of a database is active at once. A retired master key that is introduced again becomes
    unwrap_only.
    """

    UNWRAP_ONLY = "unwrap_only"
    ACTIVE = "active"
    RETIRED = "retired"


class DataKeyState(Choice):
    """The states of a data key: active (one per tenant) -> decrypt_only -> destroyed (no wraps, id never reused).

    The erasure of a tenant also destroys its active data key.
    """

    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt_only"
    DESTROYED = "destroyed"


@frozen
class MasterKeyRecord:
    """A row of the master key table; it holds no key.

    Attributes:
        key_id: 16 bytes; each wrap names its master key by this id.
        provider: holder of the key: ``local`` or a key service.
        uri: the key's name at a key service; empty for a local key.
        kdf: parameters and salt of the key derivation, as JSON; empty for a key service.
        check_value: proof that secret, salt and parameters are right; empty for a key service.
        state: see `MasterKeyState`.
        created_at: time of the first introduction, UTC; None until the record is stored.
        confirmed: the state that the audit log confirms, by an event of this key or by the activation of another master
            key. Such an activation confirms that this key is not active, because only one master key is active. None if
            the log has no event of either kind.
    """

    key_id: bytes
    provider: str
    uri: str = ""
    kdf: str = ""
    check_value: bytes = field(default=b"", repr=False)
    state: MasterKeyState = MasterKeyState.ACTIVE
    created_at: datetime | None = None
    confirmed: MasterKeyState | None = None


@frozen
class DataKeyWrap:
    """A data key encrypted under one master key."""

    master_key_id: bytes
    wrapped: bytes = field(repr=False)


@frozen
class DataKeyRecord:
    """A tenant's data key with its wraps; it holds no plaintext key.

    Attributes:
        tenant_id: the tenant that the key belongs to.
        key_id: 16 random bytes; tokens and envelopes name their data key by this id.
        state: see `DataKeyState`.
        wraps: the data key encrypted under each master key that can unwrap it.
        emptied_at: time at which a run of `reencrypt` found that no token uses the key any more, UTC, or None.
        confirmed: the state that the audit log confirms: DESTROYED or DECRYPT_ONLY; None if no event says that the key
            was destroyed or replaced.
    """

    tenant_id: str
    key_id: bytes
    state: DataKeyState
    wraps: tuple[DataKeyWrap, ...] = ()
    emptied_at: datetime | None = None
    confirmed: DataKeyState | None = None
