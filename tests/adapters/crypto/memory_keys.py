"""A key repository in memory: the port's semantics, without a database."""

import asyncio

from attrs import evolve

from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, MasterKeyRecord, MasterKeyState
from vault_domain.ports.key_rotation import no_active_master_key


class MemoryKeyRepository:
    """Keeps key records in dictionaries. Every call lets other tasks run first, as a database would.

    Attributes:
        calls: the names of the methods called, in order.
        holds_tokens: whether tokens are stored already, which forbids a first master key.
    """

    def __init__(self):
        self.masters: dict[bytes, MasterKeyRecord] = {}
        self.data: dict[tuple[str, bytes], DataKeyRecord] = {}
        self.calls: list[str] = []
        self.holds_tokens = False

    async def master_keys(self):
        await self._begin("master_keys")
        return list(self.masters.values())

    async def introduce_first_master_key(self, record):
        await self._begin("introduce_first_master_key")
        if not self.masters and not self.data and not self.holds_tokens:
            self.masters[record.key_id] = evolve(record, state=MasterKeyState.ACTIVE)
        return list(self.masters.values())

    async def introduce_master_key(self, record, known):
        await self._begin("introduce_master_key")
        if set(self.masters) <= set(known):
            stored = self.masters.get(record.key_id)
            if stored is None or stored.state is MasterKeyState.RETIRED:
                self.masters[record.key_id] = evolve(record, state=MasterKeyState.UNWRAP_ONLY)
        return list(self.masters.values())

    async def active_data_key(self, tenant_id):
        await self._begin("active_data_key")
        return self._active(tenant_id)

    async def data_key(self, tenant_id, key_id):
        await self._begin("data_key")
        return self.data.get((tenant_id, key_id))

    async def create_data_key(self, record):
        await self._begin("create_data_key")
        active = {master.key_id for master in self.masters.values() if master.state is MasterKeyState.ACTIVE}
        if active and active.isdisjoint(wrap.master_key_id for wrap in record.wraps):
            raise no_active_master_key()
        return self._active(record.tenant_id) or self.data.setdefault((record.tenant_id, record.key_id), record)

    def activate_master_key(self, key_id):
        """Make a master key active and the previous one unwrap_only, as a rotation does."""
        for record in list(self.masters.values()):
            if record.state is MasterKeyState.ACTIVE:
                self.masters[record.key_id] = evolve(record, state=MasterKeyState.UNWRAP_ONLY)
        self.masters[key_id] = evolve(self.masters[key_id], state=MasterKeyState.ACTIVE)

    def retire_master_key(self, key_id):
        """Retire a master key, as the end of a rotation does: delete its wraps and keep its record."""
        self.masters[key_id] = evolve(self.masters[key_id], state=MasterKeyState.RETIRED)
        for place, record in self.data.items():
            wraps = tuple(wrap for wrap in record.wraps if wrap.master_key_id != key_id)
            self.data[place] = evolve(record, wraps=wraps)

    def replace_active(self, record):
        """Rotate a tenant's data key."""
        before = self._active(record.tenant_id)
        self.data[(before.tenant_id, before.key_id)] = evolve(before, state=DataKeyState.DECRYPT_ONLY)
        self.data[(record.tenant_id, record.key_id)] = record

    def erase(self, tenant_id):
        """Destroy a tenant's data keys."""
        for (owner, key_id), record in self.data.items():
            if owner == tenant_id:
                self.data[(owner, key_id)] = evolve(record, state=DataKeyState.DESTROYED, wraps=())

    async def _begin(self, name):
        self.calls.append(name)
        await asyncio.sleep(0)

    def _active(self, tenant_id):
        keys = (record for (owner, _), record in self.data.items() if owner == tenant_id)
        return next((record for record in keys if record.state is DataKeyState.ACTIVE), None)
