"""Changes of master keys through a store's port, as the vault makes them."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from vault_domain.entities.key_records import MasterKeyRecord
from vault_domain.ports.change import Change
from vault_domain.ports.keys import Keys
from vault_domain.transitions.keys import activated, introduced, introduced_first, retired


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
