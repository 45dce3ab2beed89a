"""Used states of authorization requests."""

from vault_domain.ports.state_ledger import StateUse


class DictStateLedger:
    """Implements `StateLedger`."""

    def __init__(self, database, clock):
        self._database, self._clock = database, clock

    async def now(self):
        return self._clock.now()

    async def tenant_of(self, data_key_id):
        keys = self._database.tables.data_keys
        return next((tenant_id for tenant_id, key_id in keys if key_id == data_key_id), None)

    async def use(self, state_id, expires_at):
        def work(transaction):
            used, now = transaction.tables.used_states, transaction.now
            for gone in [key for key, ends in used.items() if ends <= now]:
                del used[gone]
            if expires_at <= now:
                return StateUse.EXPIRED
            if state_id in used:
                return StateUse.USED
            used[state_id] = expires_at
            return StateUse.FIRST

        return await self._database.transact(work, self._clock)
