"""What becomes of master keys: the only place that decides the changes of `vault_domain.rules.key_states`."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import datetime

from attrs import evolve

from vault_domain.entities.audit import AuditAction, AuditEvent
from vault_domain.entities.key_decisions import KeyDecision, MasterKeySet
from vault_domain.entities.key_records import MasterKeyRecord, MasterKeyState


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


def _event(action: AuditAction, now: datetime, actor: str | None, key_id: bytes) -> AuditEvent:
    return AuditEvent(action, now, actor=actor, code=key_id.hex())
