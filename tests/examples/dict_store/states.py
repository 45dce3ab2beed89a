"""Used states of authorization requests."""

from tests.examples.dict_store.database import Port, atomic

from vault_domain.ports.state_ledger import StateUse


class DictStateLedger(Port):
    """Implements `StateLedger`."""

    async def now(self):
        return self._clock.now()

    async def tenant_of(self, data_key_id):
        keys = self._tables.data_keys
        return next((tenant_id for tenant_id, key_id in keys if key_id == data_key_id), None)

    @atomic
    def use(self, transaction, state_id, expires_at):
        used, now = transaction.tables.used_states, transaction.now
        for gone in [key for key, ends in used.items() if ends <= now]:
            del used[gone]
        if expires_at <= now:
            return StateUse.EXPIRED
        if state_id in used:
            return StateUse.USED
        used[state_id] = expires_at
        return StateUse.FIRST
