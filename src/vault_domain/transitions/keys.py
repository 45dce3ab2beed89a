"""What becomes of master keys and data keys; only an erasure destroys data keys without it.

The changes of states are those that `vault_domain.rules.key_states` lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from attrs import evolve

from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.key_decisions import KeyDecision, MasterKeySet
from vault_domain.entities.key_records import (
    DataKeyRecord,
    DataKeyState,
    DataKeyWrap,
    MasterKeyRecord,
    MasterKeyState,
)
from vault_domain.entities.text import AUDIT_TENANT
from vault_domain.rules.key_states import may_wrap, no_active_master_key


def introduced_first(keys: MasterKeySet, now: datetime, record: MasterKeyRecord) -> KeyDecision[MasterKeySet]:
    """Make a master key the active one of a new database.

    A database that holds data but no master key has lost its master key, so it must not look new.
    """
    if not keys.is_new:
        return KeyDecision(keys)
    return KeyDecision(keys.put(evolve(record, state=MasterKeyState.ACTIVE, created_at=now)))


def introduced(
    keys: MasterKeySet, now: datetime, record: MasterKeyRecord, known: AbstractSet[bytes]
) -> KeyDecision[MasterKeySet]:
    """Add a master key that only unwraps; a retired one with its id comes back, as a key service's key may.

    Args:
        keys, now: what is stored, and the time.
        record: the new master key.
        known: the ids of the records that the caller has seen. If there are others, another process has introduced a
            master key meanwhile, perhaps for the same secret.
    """
    there = keys.get(record.key_id)
    is_seen = all(other.key_id in known for other in keys.records)
    if not is_seen or (there is not None and there.state is not MasterKeyState.RETIRED):
        return KeyDecision(keys)
    new = evolve(record, created_at=now) if there is None else there
    event = _event(AuditAction.MASTER_KEY_INTRODUCED, now, None, record.key_id)
    return KeyDecision(keys.put(evolve(new, state=MasterKeyState.UNWRAP_ONLY)), (event,))


def activated(
    keys: MasterKeySet, now: datetime, key_id: bytes, replaced: bytes, actor: str | None
) -> KeyDecision[MasterKeySet]:
    """Make a master key active in place of ``replaced``, if this one is still active; else a rotation overtook it."""
    new, old = keys.get(key_id), keys.get(replaced)
    if new is None or old is None:
        return KeyDecision(keys)
    if (new.state, old.state) != (MasterKeyState.UNWRAP_ONLY, MasterKeyState.ACTIVE):
        return KeyDecision(keys)
    changed = keys.put(evolve(old, state=MasterKeyState.UNWRAP_ONLY)).put(evolve(new, state=MasterKeyState.ACTIVE))
    return KeyDecision(changed, (_event(AuditAction.MASTER_KEY_ACTIVATED, now, actor, key_id),))


def retired(keys: MasterKeySet, now: datetime, key_id: bytes, actor: str | None) -> KeyDecision[MasterKeySet]:
    """Retire a master key that is not active and wraps no data key; as it is not active, nobody wraps under it."""
    record = keys.get(key_id)
    if record is None or record.state is not MasterKeyState.UNWRAP_ONLY or key_id in keys.in_use:
        return KeyDecision(keys)
    changed = keys.put(evolve(record, state=MasterKeyState.RETIRED))
    return KeyDecision(changed, (_event(AuditAction.MASTER_KEY_RETIRED, now, actor, key_id),))


def created(masters: Iterable[MasterKeyRecord], record: DataKeyRecord) -> DataKeyRecord:
    """Return a new data key as it is stored: active, and wrapped under the active master key alone.

    Raises:
        KeyUnavailableError: no such wrap was given, because a rotation has made another master key active.
    """
    wraps = tuple(wrap for wrap in record.wraps if _may_wrap(masters, wrap))
    if not wraps:
        raise no_active_master_key()
    return evolve(record, state=DataKeyState.ACTIVE, wraps=wraps)


def replaced(
    active: DataKeyRecord,
    masters: Sequence[MasterKeyRecord],
    now: datetime,
    new: DataKeyRecord,
    actor: str | None,
    seen: DataKeyRecord | None = None,
) -> KeyDecision[DataKeyRecord]:
    """Let a new data key take the place of one that is still active; that one only decrypts then.

    Nothing changes if a wrap of ``seen`` is no longer stored: the data key may have been moved to another master key of
    its tenant meanwhile, and then the new one would be under the former.

    Raises:
        KeyUnavailableError: no wrap of the new data key is under the active master key.
    """
    if active.state is not DataKeyState.ACTIVE or not _has_wraps(active, seen):
        return KeyDecision(active)
    events = (
        _event(AuditAction.DATA_KEY_REPLACED, now, actor, active.key_id, active.tenant_id),
        _event(AuditAction.DATA_KEY_ROTATED, now, actor, new.key_id, active.tenant_id),
    )
    return KeyDecision(evolve(active, state=DataKeyState.DECRYPT_ONLY), events, created(masters, new))


def moved(
    stored: DataKeyRecord,
    masters: Sequence[MasterKeyRecord],
    now: datetime,
    seen: DataKeyRecord,
    wrap: DataKeyWrap,
    code: str,
    actor: str | None,
) -> KeyDecision[DataKeyRecord]:
    """Let a data key have one wrap alone, under another master key of its tenant, if its wraps are still those seen.

    All other wraps go, those under master keys that nobody can open now included: one of them would open the data key
    without the tenant's master key. The move of the active data key moves the tenant, and has the event.

    Raises:
        KeyUnavailableError: the wrap is not under the active master key.
    """
    if not _may_wrap(masters, wrap):
        raise no_active_master_key()
    if stored.state is DataKeyState.DESTROYED or not _has_wraps(stored, seen):
        return KeyDecision(stored)
    event = AuditEvent(AuditAction.TENANT_MASTER_KEY_SET, now, tenant_id=stored.tenant_id, actor=actor, code=code)
    events = (event,) if stored.state is DataKeyState.ACTIVE else ()
    return KeyDecision(evolve(stored, wraps=(wrap,)), events)


def emptied(record: DataKeyRecord, now: datetime, is_used: bool) -> KeyDecision[DataKeyRecord]:
    """Note that no token uses a data key that only decrypts. No new token can use it; a time noted before stays."""
    if record.state is not DataKeyState.DECRYPT_ONLY or record.emptied_at is not None or is_used:
        return KeyDecision(record)
    return KeyDecision(evolve(record, emptied_at=now))


def destroyed(record: DataKeyRecord, now: datetime, is_used: bool, actor: str | None) -> KeyDecision[DataKeyRecord]:
    """Destroy an emptied data key. If a token uses it again, because a backup restored the token's row, it stays.

    The data keys of `AUDIT_TENANT` stay in any case: one of them seals the secret of the audit log's chain.
    """
    if record.state is not DataKeyState.DECRYPT_ONLY or record.emptied_at is None or record.tenant_id == AUDIT_TENANT:
        return KeyDecision(record)
    if is_used:
        return KeyDecision(evolve(record, emptied_at=None))
    event = _event(AuditAction.DATA_KEY_DESTROYED, now, actor, record.key_id, record.tenant_id)
    return KeyDecision(evolve(record, state=DataKeyState.DESTROYED, wraps=()), (event,))


def wrapped(masters: Iterable[MasterKeyRecord], record: DataKeyRecord, wrap: DataKeyWrap) -> DataKeyRecord:
    """Add a missing wrap under the active master key; a destroyed data key takes none."""
    if record.state is DataKeyState.DESTROYED or not _may_wrap(masters, wrap):
        return record
    if any(other.master_key_id == wrap.master_key_id for other in record.wraps):
        return record
    return evolve(record, wraps=(*record.wraps, wrap))


def unwrapped(
    masters: Iterable[MasterKeyRecord], record: DataKeyRecord, master_key_id: bytes, kept: DataKeyWrap
) -> DataKeyRecord:
    """Delete the wrap under a master key, as long as another one is stored, under the active master key."""
    if kept.master_key_id == master_key_id or kept not in record.wraps or not _may_wrap(masters, kept):
        return record
    left = tuple(wrap for wrap in record.wraps if wrap.master_key_id != master_key_id)
    return record if len(left) == len(record.wraps) else evolve(record, wraps=left)


def _may_wrap(masters: Iterable[MasterKeyRecord], wrap: DataKeyWrap) -> bool:
    return any(key.key_id == wrap.master_key_id and may_wrap(key) for key in masters)


def _event(
    action: AuditAction, now: datetime, actor: str | None, key_id: bytes, tenant_id: str | None = None
) -> AuditEvent:
    return AuditEvent(action, now, tenant_id=tenant_id, actor=actor, code=key_id.hex())


def _has_wraps(stored: DataKeyRecord, seen: DataKeyRecord | None) -> bool:
    return seen is None or set(seen.wraps) <= set(stored.wraps)
