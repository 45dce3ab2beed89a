"""Used states."""

from tests.examples.dict_store.database import Port, atomic

from vault_domain.ports.upkeep import StateUse


class DictUpkeep(Port):
    """Implements `Upkeep`."""

    async def ping(self):
        """Return at once, because a dictionary always answers."""

    @atomic
    def use_state(self, tables, state_id, expires_at):
        used = {key: ends for key, ends in tables.used_states.items() if ends > tables.now}
        if expires_at <= tables.now:
            return StateUse.EXPIRED
        tables.used_states = used | {state_id: expires_at}
        return StateUse.USED if state_id in used else StateUse.FIRST
