"""Ends leases of attempts that sent nothing."""

from __future__ import annotations

import logging
from contextlib import suppress
from uuid import UUID

from vault_domain.entities.attempt import Attempt
from vault_domain.entities.errors import StorageError
from vault_domain.ports.tasks import Tasks
from vault_domain.services.refresh.attempt_ledger import AttemptLedger

_log = logging.getLogger(__name__)

_WITHDRAWAL_SECONDS = 0.5
"""Longest time that a caller waits for the release of a claim whose acknowledgement was lost."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two tries to release a claim whose acknowledgement was lost."""


class Releaser:
    """Releases claims."""

    def __init__(self, ledger: AttemptLedger, tasks: Tasks) -> None:
        self._ledger = ledger
        self._tasks = tasks

    async def withdraw(self, attempt: Attempt, seen: UUID | None) -> None:
        """Withdraw a claim whose acknowledgement may be lost; go on in the background if the store does not answer.

        Nothing was sent to the provider under this attempt's id, so nobody has to wait for the end of its lease.
        """
        with suppress(TimeoutError):
            await self._tasks.share(
                ("withdrawn", attempt.attempt_id),
                lambda: self._withdraw_when_possible(attempt, seen),
                _WITHDRAWAL_SECONDS,
            )

    async def _withdraw_when_possible(self, attempt: Attempt, seen: UUID | None) -> None:
        end, pause = self._tasks.monotonic() + attempt.lease.total_seconds(), _FIRST_PAUSE
        while not await self._is_withdrawn(attempt, seen) and self._tasks.monotonic() < end:
            await self._tasks.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _is_withdrawn(self, attempt: Attempt, seen: UUID | None) -> bool:
        try:
            await self._ledger.withdraw(attempt, seen)
        except StorageError as error:
            return not error.retryable
        return True

    async def release(self, attempt: Attempt) -> None:
        """Release a claim; if the store does not answer, the lease runs out."""
        try:
            await self._ledger.release(attempt)
        except StorageError as error:
            _log.warning("an unused lease could not be released (%s); it runs out", error.code)
