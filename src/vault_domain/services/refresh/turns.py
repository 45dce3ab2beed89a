"""Runs attempts in turn, and refuses those that waited for a turn while the store took no claims."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from vault_domain.entities.account import Account
from vault_domain.entities.errors import StorageError
from vault_domain.ports.tasks import T, Tasks
from vault_domain.ports.token_refresher import TokenRefresher
from vault_domain.rules.shares import next_member

_FAILED_CLAIMS = 3
"""Number of accounts whose claims must have failed; one account may be locked although the store is well."""

_SLOW = 0.5
"""A claim that fails in less than this many seconds makes nobody wait, and the next one may succeed."""

_TOGETHER = 1.0
"""A caller that began to wait at most this many seconds after a claim had begun would not have fared better."""


class AttemptTurns:
    """The turns of attempts at each provider.

    If the store is away, each claim takes its whole time limit before it fails. Callers wait for turns one after the
    other, so the last of many callers would wait for many such limits. So a caller that gets its turn gets the error of
    the others' claims, if these claims began while the caller was waiting, and none has succeeded since.

    Args:
        tasks: limits how many attempts run at a time.
        refreshers: the refresher of each provider.
        most: largest number of attempts at one provider at a time.
    """

    def __init__(self, tasks: Tasks, refreshers: Mapping[str, TokenRefresher], most: int) -> None:
        self._tasks = tasks
        self._refreshers = refreshers
        self._most = most
        self._failed: dict[Account, tuple[float, StorageError]] = {}
        self._worked_at = -1.0

    async def run(self, account: Account, work: Callable[[], Awaitable[T]]) -> T:
        """Run ``work``, which claims and runs an attempt, when it is the turn of the account's tenant at the provider.

        The wait comes before the claim, so that no lease runs meanwhile.

        Raises:
            StorageError: while this call waited for its turn, the store took no claims.
        """
        provider, asked = account.provider, self._tasks.monotonic()

        async def begin() -> T:
            self._refuse_if_away(asked)
            return await work()

        own = getattr(self._refreshers[provider], "concurrency", None)
        most = min(self._most, own) if isinstance(own, int) and own > 0 else self._most
        group = ("provider", provider)
        return await self._tasks.in_turn(group, account.tenant_id, begin, most=most, choose=next_member)

    def end(self) -> None:
        """End the running attempt's turn, because the provider has answered; storing the answer needs no turn."""
        self._tasks.end_turn()

    def claimed(self) -> None:
        """Note that the store took a claim, or refused it because another process was faster."""
        self._worked_at = self._tasks.monotonic()
        self._failed.clear()

    def failed(self, account: Account, began: float, error: StorageError) -> None:
        """Note that a claim failed that began at the monotonic time ``began``."""
        if error.retryable and began >= self._worked_at and self._tasks.monotonic() - began >= _SLOW:
            self._failed[account] = began, error

    def _refuse_if_away(self, asked: float) -> None:
        failed = [error for began, error in self._failed.values() if began + _TOGETHER >= asked]
        if len(failed) >= _FAILED_CLAIMS:
            raise StorageError(str(failed[-1]), code=failed[-1].code, retryable=True, reason=failed[-1].reason)
