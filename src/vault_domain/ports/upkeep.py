"""Upkeep: used states, and the care of the database."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from vault_domain.entities.choice import Choice


class StateUse(Choice):
    """The result of using a state: this was its first use, it was used before, or it has expired."""

    FIRST = "first"
    USED = "used"
    EXPIRED = "expired"


class Upkeep(Protocol):
    """Keeps used states, and takes care of the database.

    The record of a used state is kept until the state expires; it holds neither the tenant nor the content of the
    state.
    """

    async def ping(self) -> None:
        """Return normally if the database answers, takes writes, and has the schema; read no token.

        If a write would wait for other writers, a store may ask only whether it has the right to write.

        Raises:
            StorageError: the database does not answer or takes no writes.
            SchemaOutdatedError: the schema is missing or older than this release.
        """

    async def use_state(self, state_id: bytes, expires_at: datetime) -> StateUse:
        """Use a state, in one transaction; of several callers, exactly one gets FIRST.

        A state expires at ``expires_at`` by the store's time. The same transaction removes some expired records.

        Args:
            state_id: 32 bytes that name the state.
            expires_at: the time from which the state is no longer valid, UTC.
        """
