"""The states of keys: which state may follow which, and what a key may be used for.

Whoever can write to the database can set a state back, and can restore the matching wraps from an old backup. So
these rules compare the state of a key with the state that the audit log confirms.
"""

from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import KeyUnavailableError
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, MasterKeyRecord, MasterKeyState

RETIRED_MASTER_KEY = "retired_master_key"
"""Reason: a new data key was wrapped under a master key that a rotation has replaced, so it was not stored."""

RESURRECTED_KEY = "resurrected_key"
"""Reason: the data key's state was set back, although the audit log says that the key was replaced or destroyed."""

RESURRECTED_MASTER_KEY = "resurrected_master_key"
"""Reason: the master key's state was set back, although the audit log says that it was replaced or retired."""

KEY_DENIED = "key_denied"
"""Reason: the key service does not let this process use the tenant's own master key, for example because the customer
has disabled it. The values are intact, and open again when the key may be used again."""

TENANT_KEY_UNAVAILABLE = "tenant_key_unavailable"
"""Reason: the tenant's own master key cannot be used now, for example because its key service does not answer."""

OF_ONE_TENANT = frozenset({KEY_DENIED, TENANT_KEY_UNAVAILABLE})
"""The reasons that concern one tenant's own master key; work for other tenants goes on."""

DATA_KEY_MOVES = frozenset(
    {
        (DataKeyState.ACTIVE, DataKeyState.DECRYPT_ONLY),
        (DataKeyState.ACTIVE, DataKeyState.DESTROYED),
        (DataKeyState.DECRYPT_ONLY, DataKeyState.DESTROYED),
    }
)
"""The changes of a data key's state that the vault makes; it never sets a state back."""

MASTER_KEY_MOVES = frozenset(
    {
        (MasterKeyState.UNWRAP_ONLY, MasterKeyState.ACTIVE),
        (MasterKeyState.ACTIVE, MasterKeyState.UNWRAP_ONLY),
        (MasterKeyState.UNWRAP_ONLY, MasterKeyState.RETIRED),
        (MasterKeyState.RETIRED, MasterKeyState.UNWRAP_ONLY),
    }
)
"""The changes of a master key's state that the vault makes. Each has an event in the audit log. A retired master key
becomes unwrap_only when it is introduced again, as may happen with the key of a key service."""


def is_resurrected(key: DataKeyRecord) -> bool:
    """Return whether a data key's state was set back from the state that the audit log confirms."""
    return (key.state, key.confirmed) in DATA_KEY_MOVES


def may_open(key: DataKeyRecord) -> bool:
    """Return whether values may be opened with a data key.

    A replaced data key that was set back to active still opens values, because the tenant's own values are under it.
    """
    return DataKeyState.DESTROYED not in (key.state, key.confirmed)


def may_seal(key: DataKeyRecord) -> bool:
    """Return whether new values may be sealed with a data key."""
    return key.state is DataKeyState.ACTIVE and not is_resurrected(key)


def is_resurrected_master_key(key: MasterKeyRecord) -> bool:
    """Return whether a master key's state was set back: from retired to another state, or from unwrap_only to active.

    The audit log confirms retired in the first case, and unwrap_only in the second. A retired master key that was
    introduced again is not resurrected, because the log confirms unwrap_only for it.
    """
    if key.confirmed is MasterKeyState.RETIRED:
        return key.state is not MasterKeyState.RETIRED
    return key.confirmed is MasterKeyState.UNWRAP_ONLY and key.state is MasterKeyState.ACTIVE


def may_wrap(key: MasterKeyRecord) -> bool:
    """Return whether a wrap may be stored under a master key."""
    return key.state is MasterKeyState.ACTIVE and not is_resurrected_master_key(key)


def no_active_master_key() -> KeyUnavailableError:
    """Return the error for a new data key that the active master key does not wrap."""
    return KeyUnavailableError("the master key is no longer active", reason=RETIRED_MASTER_KEY)


def confirmed_data_key(action: str | None) -> DataKeyState | None:
    """Return the state of a data key that the audit log confirms; None if it was neither replaced nor destroyed.

    Args:
        action: of the events of its tenant whose `code` is the id of the data key: DATA_KEY_DESTROYED if there is one,
            else DATA_KEY_REPLACED if there is one, else None.
    """
    if action is None:
        return None
    is_end = action == AuditAction.DATA_KEY_DESTROYED
    return DataKeyState.DESTROYED if is_end else DataKeyState.DECRYPT_ONLY


def confirmed_master_key(key_id: bytes, action: str | None, activated: str | None) -> MasterKeyState | None:
    """Return the state of a master key that the audit log confirms; None if it has no event that concerns the key.

    Args:
        key_id: its id.
        action: the action of the last event about this key, or None.
        activated: the `code` of the last event MASTER_KEY_ACTIVATED of any key, or None. It confirms that the others
            are not active, because only one master key is.
    """
    if action == AuditAction.MASTER_KEY_RETIRED:
        return MasterKeyState.RETIRED
    if activated == key_id.hex():
        return MasterKeyState.ACTIVE
    return None if action is None and activated is None else MasterKeyState.UNWRAP_ONLY
