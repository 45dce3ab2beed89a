"""Keeps the token requests within the providers' request limits, and within what their answers ask for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.errors import RefreshFailedError
from vault_domain.entities.request_limit import Counted, RequestLimit
from vault_domain.ports.client_states import ClientStates
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import TokenRefresher
from vault_domain.rules.pacing import FREE, LONGEST_WAIT, RATE_LIMITED
from vault_domain.rules.refresh import Claim
from vault_domain.rules.refusals import LONGEST_ASKED, LONGEST_BACKOFF
from vault_domain.services.refresh.exchange import Patience
from vault_domain.services.tokens.clients import Clients

_SPREAD_SECONDS = 0.1

_MOST_ASKED = 10_000
"""Largest number of accounts of a client of which a process knows that they were asked to wait."""

_FORGOTTEN = LONGEST_WAIT.total_seconds()
"""Seconds after which a reserved turn that was not taken is forgotten."""

_TOO_MANY = "the provider accepts no more requests of this client now"


class RateLimitedError(RefreshFailedError):
    """Nothing was sent, because the provider accepts no more requests now. ``retry_after`` is the time to wait."""


class AskedToWaitError(RateLimitedError):
    """Nothing was sent, because the provider asked the account to wait. ``retry_after`` is the time to a probe."""


class _Asked:
    """The accounts of one client that the provider asked to wait, each until when; and when one of them was asked.

    The times are the store's.
    """

    def __init__(self, now: datetime) -> None:
        self.until: dict[Account, datetime] = {}
        self.probed_at = now


class Pacer:
    """Gives turns for requests to providers that limit the requests of a client.

    If a provider asks accounts to wait for long, one of them probes every five minutes, and the others wait until the
    provider grants the client a refresh. An hour later at the latest, each asks again. Other accounts are not held
    back, because the limit may be that of one user. Each process knows what it was told itself.
    """

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
        self._asked: dict[tuple[str, bytes | None], _Asked] = {}

    async def take_turn(self, account: Account, claim: Claim) -> None:
        """Take the turn for one request of a client, at a token endpoint if accounts have different ones.

        Raises:
            RateLimitedError: no request may be sent now.
            StorageError: the store failed.
        """
        if claim.now is not None and not claim.forced:
            self._wait_as_asked(account, claim, claim.now)
        limit = self._limits.get(account.provider)
        if limit is None:
            return
        client = claim.endpoint or self._clients.of(account)
        wait = await self._wait(account, client, limit, FREE)
        if wait > FREE:
            raise RateLimitedError(_TOO_MANY, account=account, reason=RATE_LIMITED, retry_after=wait)

    def asked_to_wait(self, attempt: Attempt, wait: timedelta | None) -> None:
        """Take note that a provider asked to wait before the next request for an account."""
        if wait is None or wait <= LONGEST_ASKED:
            return
        account, now = attempt.account, attempt.claimed_at
        asked = self._asked.setdefault((account.provider, attempt.endpoint or self._clients.of(account)), _Asked(now))
        if len(asked.until) >= _MOST_ASKED:
            asked.until = {each: until for each, until in asked.until.items() if until > now}
        if len(asked.until) < _MOST_ASKED:
            asked.until[account] = now + min(wait, LONGEST_BACKOFF)
        asked.probed_at = now

    def succeeded(self, attempt: Attempt) -> None:
        """Take note that a provider granted a refresh: nobody has to wait any more."""
        if self._asked:
            account = attempt.account
            self._asked.pop((account.provider, attempt.endpoint or self._clients.of(account)), None)

    def _wait_as_asked(self, account: Account, claim: Claim, now: datetime) -> None:
        if not self._asked:
            return
        asked = self._asked.get((account.provider, claim.endpoint or self._clients.of(account)))
        if asked is None or not FREE < asked.until.get(account, now) - now <= LONGEST_BACKOFF:
            return
        left = asked.probed_at + LONGEST_ASKED - now
        if FREE < left <= LONGEST_ASKED:  # more would be left if the clock was set back
            reason = claim.error_code or RATE_LIMITED
            raise AskedToWaitError(_TOO_MANY, account=account, reason=reason, retry_after=left)
        asked.probed_at = now

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
        if limit is None or left <= FREE or isinstance(limited, AskedToWaitError):
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
