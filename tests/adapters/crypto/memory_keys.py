"""A key repository in memory: the port's semantics, without a database."""

import asyncio
from datetime import UTC, datetime

from attrs import evolve

from vault_domain.entities.key_decisions import MasterKeySet
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, MasterKeyRecord, MasterKeyState
from vault_domain.ports.change import Change
from vault_domain.rules.key_states import no_active_master_key


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

    async def change_master_keys(self, decide):
        await self._begin("change_master_keys")
        is_new = not (self.masters or self.data or self.holds_tokens)
        decision = decide(MasterKeySet(tuple(self.masters.values()), is_new=is_new), datetime.now(UTC))
        self.masters = {record.key_id: record for record in decision.state.records}
        return Change(list(self.masters.values()), decision.events)

    async def data_key(self, tenant_id, key_id):
        await self._begin("active_data_key" if key_id is None else "data_key")
        return self._active(tenant_id) if key_id is None else self.data.get((tenant_id, key_id))

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
