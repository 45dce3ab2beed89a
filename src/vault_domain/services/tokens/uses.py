"""Records when tokens were last used: `record` collects the uses in memory, and `flush` writes them in batches."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from vault_domain.entities.errors import StorageError
from vault_domain.entities.token import TokenInfo, TokenRef

if TYPE_CHECKING:
    from vault_domain.ports.accounts import Accounts

_log = logging.getLogger(__name__)

_RESOLUTION = timedelta(minutes=1)
"""Uses of one token within this time are recorded as one use."""


class UseTracker:
    """Collects when tokens were last used, at most once per token and minute.

    A crash loses the uses since the last flush. That is accepted, because a write for each read would cost three times
    as much as the read.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._pending: dict[TokenRef, datetime] = {}
        self._recorded: dict[UUID, datetime] = {}

    def record(self, info: TokenInfo, now: datetime) -> None:
        """Record that a token was returned to a caller at ``now``, unless a use within the last minute was recorded."""
        last = self._recorded.get(info.id)
        if last is None or abs(now - last) >= _RESOLUTION:
            self._recorded[info.id] = now
            self._pending[TokenRef.of(info)] = now

    def pause(self, info: TokenInfo, now: datetime) -> float:
        """Return for how many seconds from ``now`` no further use of a token is recorded; call `record` first."""
        return (self._recorded[info.id] + _RESOLUTION - now).total_seconds()

    async def flush(self) -> None:
        """Write the collected uses. If the database fails, drop them and log a warning."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        latest = max(pending.values())
        self._recorded = {id_: at for id_, at in self._recorded.items() if abs(latest - at) < _RESOLUTION}
        try:
            await self._accounts.record_uses(pending)
        except StorageError as error:
            _log.warning("the last use of %d tokens was not recorded (%s)", len(pending), error.code)
