"""The key hierarchy as the database holds it: master keys wrap the tenants' data keys."""

import enum
from datetime import datetime

from attrs import field, frozen


class MasterKeyState(enum.StrEnum):
    """introduced (unwrap_only) -> active (exactly one) -> unwrap_only -> retired."""

    UNWRAP_ONLY = "unwrap_only"
    ACTIVE = "active"
    RETIRED = "retired"


class DataKeyState(enum.StrEnum):
    """active (one per tenant) -> decrypt_only -> destroyed (its wraps are gone, its id is never used again)."""

    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt_only"
    DESTROYED = "destroyed"


@frozen
class MasterKeyRecord:
    """A row of the master key table; there is no key in it.

    Attributes:
        key_id: 16 bytes; the wraps name it.
        provider: who holds the key: ``local`` or a key service.
        uri: the key's name at a key service; empty for a local one.
        kdf: parameters and salt of the key derivation, as JSON; empty for a key service.
        check_value: proves that a secret, salt and parameters are the right ones; empty for a key service.
        state: see `MasterKeyState`.
        created_at: UTC; None until it is stored.
    """

    key_id: bytes
    provider: str
    uri: str = ""
    kdf: str = ""
    check_value: bytes = field(default=b"", repr=False)
    state: MasterKeyState = MasterKeyState.ACTIVE
    created_at: datetime | None = None


@frozen
class DataKeyWrap:
    """A data key encrypted under one master key."""

    master_key_id: bytes
    wrapped: bytes = field(repr=False)


@frozen
class DataKeyRecord:
    """A tenant's data key with its wraps; there is no key in clear in it.

    Attributes:
        tenant_id: whose key.
        key_id: 16 random bytes; tokens and envelopes name it.
        state: see `DataKeyState`.
        wraps: one per master key that can open it.
        emptied_at: when no token was left under it, UTC, or None.
    """

    tenant_id: str
    key_id: bytes
    state: DataKeyState
    wraps: tuple[DataKeyWrap, ...] = ()
    emptied_at: datetime | None = None
