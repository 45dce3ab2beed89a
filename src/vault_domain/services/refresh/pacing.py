"""Keeps the token requests within the providers' request limits, which hold for all processes together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from vault_domain.entities.account import Account
from vault_domain.entities.errors import RefreshFailedError
from vault_domain.entities.request_limit import Counted, RequestLimit
from vault_domain.ports.client_ledger import ClientLedger
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import TokenRefresher
from vault_domain.rules.pacing import FREE, RATE_LIMITED
from vault_domain.services.tokens.clients import Clients

_NEAR = timedelta(seconds=10)
"""Longest wait for a turn. A caller that cannot use the stored token gets an error instead of a longer wait."""

_SPREAD_SECONDS = 0.1


class RateLimitedError(RefreshFailedError):
    """Nothing was sent, because the provider accepts no more requests now. ``retry_after`` is the time to wait."""


class Pacer:
    """Gives turns for requests to providers that limit the requests of a client."""

    def __init__(
        self, ledger: ClientLedger, tasks: Tasks, clients: Clients, refreshers: Mapping[str, TokenRefresher]
    ) -> None:
        self._ledger = ledger
        self._tasks = tasks
        self._clients = clients
        self._limits = {
            provider: limit
            for provider, refresher in refreshers.items()
            if isinstance(limit := getattr(refresher, "request_limit", None), RequestLimit)
            and limit.counted is Counted.CLIENT
        }
        self._closed: dict[tuple[str, bytes | None], float] = {}

    async def take_turn(self, account: Account) -> None:
        """Take the turn for one request.

        Raises:
            RateLimitedError: no request may be sent now.
            StorageError: the store failed.
        """
        limit = self._limits.get(account.provider)
        if limit is None:
            return
        client = self._clients.of(account)
        wait = self._remembered(account.provider, client)
        if wait <= FREE:
            wait = await self._ledger.take_turn(account.provider, client, limit)
        if wait > FREE:
            self._closed[account.provider, client] = self._tasks.monotonic() + wait.total_seconds()
            what = "the provider accepts no more requests of this client now"
            raise RateLimitedError(what, account=account, reason=RATE_LIMITED, retry_after=wait)

    async def rest(self, limited: RateLimitedError) -> float:
        """If the turn is near, wait for it and return the seconds that passed; otherwise, raise the error."""
        wait = limited.retry_after or FREE
        if wait > _NEAR:
            raise limited
        seconds = wait.total_seconds() + _SPREAD_SECONDS * self._tasks.jitter()
        await self._tasks.sleep(seconds)
        return seconds

    def room(self, provider: str) -> int | None:
        """Return how many accounts of a provider a sweep should take next; None: any number."""
        limit = self._limits.get(provider)
        if limit is None:
            return None
        if not self._clients.is_shared(provider):
            return limit.burst
        return 0 if self._remembered(provider, self._clients.shared(provider)) > FREE else limit.burst

    def _remembered(self, provider: str, client: bytes | None) -> timedelta:
        """Return the remaining part of the wait that the store returned last.

        Until the wait is over, the store need not be asked again, because other processes can only lengthen the wait.
        """
        until = self._closed.get((provider, client))
        if until is None:
            return FREE
        left = timedelta(seconds=until - self._tasks.monotonic())
        if left <= FREE:
            del self._closed[provider, client]
        return left
