"""Keeps the token requests within the providers' request limits, which hold for all processes together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from vault_domain.entities.account import Account
from vault_domain.entities.errors import RefreshFailedError
from vault_domain.entities.request_limit import Counted, RequestLimit
from vault_domain.ports.client_states import ClientStates
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import TokenRefresher
from vault_domain.rules.pacing import FREE, LONGEST_WAIT, RATE_LIMITED
from vault_domain.services.refresh.exchange import Patience
from vault_domain.services.tokens.clients import Clients

_SPREAD_SECONDS = 0.1

_FORGOTTEN = LONGEST_WAIT.total_seconds()
"""Seconds after which a reserved turn that was not taken is forgotten."""

_TOO_MANY = "the provider accepts no more requests of this client now"


class RateLimitedError(RefreshFailedError):
    """Nothing was sent, because the provider accepts no more requests now. ``retry_after`` is the time to wait."""


class Pacer:
    """Gives turns for requests to providers that limit the requests of a client."""

    def __init__(
        self, states: ClientStates, tasks: Tasks, clients: Clients, refreshers: Mapping[str, TokenRefresher]
    ) -> None:
        self._states = states
        self._tasks = tasks
        self._clients = clients
        self._limits = {
            provider: limit
            for provider, refresher in refreshers.items()
            if isinstance(limit := getattr(refresher, "request_limit", None), RequestLimit)
            and limit.counted is Counted.CLIENT
        }
        self._closed: dict[tuple[str, bytes | None], float] = {}
        self._reserved: dict[tuple[str, bytes | None, str], float] = {}

    async def take_turn(self, account: Account, endpoint: bytes | None) -> None:
        """Take the turn for one request of a client, at a token endpoint if accounts have different ones.

        Raises:
            RateLimitedError: no request may be sent now.
            StorageError: the store failed.
        """
        limit = self._limits.get(account.provider)
        if limit is None:
            return
        client = endpoint or self._clients.of(account)
        wait = await self._wait(account, client, limit, FREE)
        if wait > FREE:
            raise RateLimitedError(_TOO_MANY, account=account, reason=RATE_LIMITED, retry_after=wait)

    async def rest(
        self, limited: RateLimitedError, account: Account, endpoint: bytes | None, patience: Patience
    ) -> float:
        """Reserve a turn for the account's tenant, wait for it, and return the seconds that passed.

        Raises:
            RateLimitedError: no turn comes within the ten seconds that a caller waits for turns altogether.
            StorageError: the store failed.
        """
        left = timedelta(seconds=patience.left_for_turns(self._tasks.monotonic(), LONGEST_WAIT.total_seconds()))
        limit = self._limits.get(account.provider)
        if limit is None or left <= FREE:
            raise limited
        wait = await self._wait(account, endpoint or self._clients.of(account), limit, left)
        if wait > left:
            raise RateLimitedError(_TOO_MANY, account=account, reason=RATE_LIMITED, retry_after=wait)
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

    async def _wait(self, account: Account, client: bytes | None, limit: RequestLimit, ahead: timedelta) -> timedelta:
        """Ask the store for a turn, unless the answer is known; ``ahead`` as for `ClientStates.take_turn`."""
        key, own, now = (
            (account.provider, client),
            (account.provider, client, account.tenant_id),
            self._tasks.monotonic(),
        )
        reserved_at = self._reserved.get(own)
        if reserved_at is not None and reserved_at > now:
            return timedelta(seconds=reserved_at - now)
        if reserved_at is None and ahead <= FREE and (left := self._remembered(*key)) > FREE:
            return left
        wait = await self._states.take_turn(account.provider, client, account.tenant_id, limit, ahead)
        at = self._tasks.monotonic() + wait.total_seconds()
        self._reserved = {each: at for each, at in self._reserved.items() if each != own and at > now - _FORGOTTEN}
        if ahead > FREE and wait <= ahead:
            self._reserved[own] = at
        elif wait > FREE:
            self._closed[key] = at
        return wait

    def _remembered(self, provider: str, client: bytes | None) -> timedelta:
        """Return the remaining part of the wait for any tenant's next turn that the store told last.

        Until the wait is over, the store need not be asked again, because other processes can only lengthen the wait.
        """
        until = self._closed.get((provider, client))
        if until is None:
            return FREE
        left = timedelta(seconds=until - self._tasks.monotonic())
        if left <= FREE:
            del self._closed[provider, client]
        return left
