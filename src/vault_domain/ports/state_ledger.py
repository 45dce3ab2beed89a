"""StateLedger: remembers which sealed states were used, so that each state opens once across all processes."""

from datetime import datetime
from typing import Protocol

from vault_domain.entities.choice import Choice


class StateUse(Choice):
    """The result of using a state: this was its first use, it was used before, or it has expired."""

    FIRST = "first"
    USED = "used"
    EXPIRED = "expired"


class StateLedger(Protocol):
    """Keeps a record of each used state until the state expires.

    A record holds neither the tenant nor the content of the state.
    """

    async def now(self) -> datetime:
        """Return the store's time, UTC."""

    async def tenant_of(self, data_key_id: bytes) -> str | None:
        """Return the tenant whose data key has this id, even if this key was destroyed; None if no data key has it."""

    async def use(self, state_id: bytes, expires_at: datetime) -> StateUse:
        """Use a state, in one transaction; of several callers, exactly one gets FIRST.

        A state expires at ``expires_at`` by the store's time. The same transaction removes some expired records.

        Args:
            state_id: 32 bytes that name the state.
            expires_at: the time from which the state is no longer valid, UTC.
        """
