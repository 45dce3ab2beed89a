"""Used states."""

from tests.examples.dict_store.database import Port, atomic

from vault_domain.ports.upkeep import StateUse


class DictUpkeep(Port):
    """Implements `Upkeep`."""

    async def ping(self):
        """Return at once, because a dictionary always answers."""

    @atomic
    def use_state(self, tables, state_id, expires_at):
        used, now = tables.used_states, tables.now
        for gone in [key for key, ends in used.items() if ends <= now]:
            del used[gone]
        if expires_at <= now:
            return StateUse.EXPIRED
        if state_id in used:
            return StateUse.USED
        used[state_id] = expires_at
        return StateUse.FIRST
