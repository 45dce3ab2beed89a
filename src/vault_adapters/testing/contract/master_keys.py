"""Changes of keys through a store's port, as the vault makes them."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from vault_domain.entities.key_records import DataKeyRecord, DataKeyWrap, MasterKeyRecord
from vault_domain.ports.change import Change
from vault_domain.ports.keys import Keys
from vault_domain.transitions.keys import activated, introduced, introduced_first, moved, replaced, retired


async def introduce_first(port: Keys, record: MasterKeyRecord) -> list[MasterKeyRecord]:
    """Introduce the first master key; return all records."""
    return (await port.change_master_keys(lambda keys, now: introduced_first(keys, now, record))).result


async def introduce(port: Keys, record: MasterKeyRecord, known: AbstractSet[bytes]) -> list[MasterKeyRecord]:
    """Introduce a further master key; return all records."""
    return (await port.change_master_keys(lambda keys, now: introduced(keys, now, record, known))).result


async def activate(port: Keys, key_id: bytes, replaced: bytes) -> Change[list[MasterKeyRecord]]:
    """Make a master key active in place of another."""
    return await port.change_master_keys(lambda keys, now: activated(keys, now, key_id, replaced, None))


async def retire(port: Keys, key_id: bytes) -> Change[list[MasterKeyRecord]]:
    """Retire a master key that is neither active nor in use."""
    return await port.change_master_keys(lambda keys, now: retired(keys, now, key_id, "me"))


async def replace(
    port: Keys, key_id: bytes, new: DataKeyRecord, seen: DataKeyRecord | None = None
) -> Change[DataKeyRecord | None]:
    """Put a new active data key in the place of one of its tenant."""
    return await port.change_data_key(
        new.tenant_id, key_id, lambda stored, masters, now: replaced(stored, masters, now, new, None, seen)
    )


async def move(port: Keys, seen: DataKeyRecord, wrap: DataKeyWrap) -> Change[DataKeyRecord | None]:
    """Put one wrap in the place of all wraps of a data key."""
    return await port.change_data_key(
        seen.tenant_id, seen.key_id, lambda stored, masters, now: moved(stored, masters, now, seen, wrap, "c", "ops")
    )
