"""Runs exchanges with providers: callers wait until the deadline, and late answers are stored too.

An exchange is a request to a provider, and its answer.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from uuid import UUID

from attrs import define, evolve

from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.causes import TIMEOUT
from vault_domain.entities.errors import (
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    StorageError,
    VaultError,
)
from vault_domain.entities.measures import Operation
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.rotation_policy import RotationKind
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.tasks import Tasks
from vault_domain.ports.token_refresher import RefreshRequest, TokenRefresher
from vault_domain.rules.grace import listening_time, may_repeat
from vault_domain.rules.timing import RefreshTiming
from vault_domain.rules.unread import holds_tokens
from vault_domain.services.observing import Observed, outcome_of
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.commits import Refreshed
from vault_domain.services.refresh.failures import NothingSent

_log = logging.getLogger(__name__)

Answer = TokenSet | VaultError
Finish = Callable[[Answer], Awaitable[Refreshed | NothingSent]]

_LONGEST_START = 1.0
"""Longest time in seconds between the last check of the lease and the start of the task that sends the request."""

_GRACE_SECONDS = 0.5
"""A refresher is cancelled this many seconds after its deadline. Callers give up this many seconds after theirs."""

_PAUSES = 0.1, 0.5
"""Seconds before the repetitions of a request within a grace period."""

_AGAIN = timedelta(seconds=1)
"""Time after which a caller whose patience ended may ask again."""

_LEASE_ENDS = 1.0
"""Extra seconds that a caller waits after the end of a lease, to see whether the lease was renewed."""


@define
class _Exchange:
    answer: Answer | None = None
    is_late: bool = False


class Exchanges:
    """The exchanges of this process with providers, each under the lease of its attempt.

    Args:
        ledger: renews the leases.
        tasks: runs the exchanges.
        timing: the time limits of a refresh.
        refreshers: the refresher of each provider.
        observed: is told of each request, and of each attempt whose answer came late.
    """

    def __init__(
        self,
        ledger: AttemptLedger,
        tasks: Tasks,
        timing: RefreshTiming,
        refreshers: Mapping[str, TokenRefresher],
        observed: Observed | None = None,
    ) -> None:
        self._ledger = ledger
        self._tasks = tasks
        self._timing = timing
        self._refreshers = refreshers
        self._observed = observed or Observed()
        self._late: dict[UUID, Account] = {}
        self._is_stopped = False

    def stop(self) -> None:
        """Repeat no request any more, because the vault is closing; open exchanges go on."""
        self._is_stopped = True

    @property
    def is_any_late(self) -> bool:
        """Whether an exchange goes on, or its answer is being stored, although its callers have given up."""
        return bool(self._late)

    def is_late(self, account: Account) -> bool:
        """Return whether a late exchange goes on for this account.

        This is False at a provider that does not rotate, because its credential may be presented again at any time.
        """
        return account in self._late.values() and not self._is_reusable(account)

    async def hold(
        self, attempt: Attempt, request: RefreshRequest, since_first: timedelta, finish: Finish
    ) -> Refreshed | NothingSent:
        """Ask the provider, and finish the attempt with its answer, now or after the callers have given up.

        Args:
            attempt: the attempt, whose lease is renewed until the exchange ends.
            request: the input of the refresher.
            since_first: time since the first request with the credential; see `since_first_request`.
            finish: stores the answer, or records how the attempt failed.

        Raises:
            RefreshFailedError: the deadline of the callers is over, and the exchange goes on.
            VaultError: from ``finish``.
        """
        exchange, began = _Exchange(), self._tasks.monotonic()

        async def listen() -> None:
            if self._tasks.monotonic() - began > _LONGEST_START:  # suspended after the lease was checked
                exchange.answer = RefreshFailedError("the process was suspended before it sent the request")
            else:
                exchange.answer = await self._ask_within_grace(attempt, request, since_first)
            if exchange.is_late:
                await self._finish_late(attempt, exchange.answer, finish)

        patience = self._timing.deadline.total_seconds() + _GRACE_SECONDS
        try:
            # Without an answer deadline, the exchange itself ends at the callers' deadline, so wait for its end.
            limit = patience if self._timing.answer_deadline else None
            await self._tasks.share(("exchange", attempt.attempt_id), listen, limit)
        except TimeoutError:
            pass  # raise the new error below, so that it has no ``__context__``
        # Nothing is awaited between reading `answer` and setting `is_late`, so exactly one of this method and `listen`
        # takes the answer.
        if exchange.answer is not None:
            return await finish(exchange.answer)
        exchange.is_late = True
        self._late[attempt.attempt_id] = attempt.account
        _log.warning("%s has not answered in time; its answer is still awaited", attempt.account.provider)
        raise still_open(attempt.account)

    async def _finish_late(self, attempt: Attempt, answer: Answer, finish: Finish) -> None:
        provider = attempt.account.provider
        try:
            with self._observed.step(Operation.REFRESH, provider) as step:
                step.ended((await finish(answer)).name)
            _log.info("a late answer of %s was taken", provider)
        except VaultError as error:
            _log.warning("a late answer of %s ended with %s", provider, error.reason or error.code)
        finally:
            del self._late[attempt.attempt_id]

    async def _ask_within_grace(self, attempt: Attempt, request: RefreshRequest, since_first: timedelta) -> Answer:
        """Ask the provider; while its grace period allows it, ask again after an unknown outcome.

        Before each repetition, the previous exchange has ended, and the ledger has confirmed that this attempt holds
        the lease.
        """
        began = self._tasks.monotonic()
        rotation = self._refreshers[attempt.account.provider].rotation

        def passed(more: float = 0.0) -> timedelta:
            return since_first + timedelta(seconds=self._tasks.monotonic() - began + more)

        answer = await self._ask(attempt, request)
        for pause in _PAUSES:
            if not isinstance(answer, RefreshFailedError) or not answer.outcome_unknown or answer.refresh_token:
                break
            if answer.answer is not None and holds_tokens(answer.answer.content):
                break
            wait = max(pause * (0.5 + self._tasks.jitter()), (answer.retry_after or timedelta(0)).total_seconds())
            if not may_repeat(rotation, passed(wait), self._timing):
                break
            await self._tasks.sleep(wait)
            is_held = await self._renew(attempt)
            # Check the time again, because the renewal may have hung, and the process may have been suspended.
            if not is_held or self._is_stopped or not may_repeat(rotation, passed(), self._timing):
                break
            _log.info("%s is asked again within its grace period", attempt.account.provider)
            answer = await self._ask(
                attempt, evolve(request, deadline=listening_time(rotation, passed(), self._timing))
            )
        return answer

    async def _ask(self, attempt: Attempt, request: RefreshRequest) -> Answer:
        """Call the provider; return its answer or, for any exception, one of `TokenRefresher`'s three errors."""
        with self._observed.step(Operation.EXCHANGE, request.account.provider) as step:
            answer = await self._call(attempt, request)
            step.ended(*outcome_of(answer if isinstance(answer, VaultError) else None))
            return answer

    async def _call(self, attempt: Attempt, request: RefreshRequest) -> Answer:
        refresher = self._refreshers[request.account.provider]
        limit = request.deadline.total_seconds() + _GRACE_SECONDS
        try:
            answer = await self._tasks.within_lease(
                limit,
                lambda: refresher.refresh(request),
                pace=self._timing.renewal.total_seconds(),
                renew=lambda: self._keep_lease(attempt),
            )
        except (ReauthorizationRequiredError, ProviderConfigurationError, RefreshFailedError) as error:
            return error
        except TimeoutError:
            return RefreshFailedError(reason=TIMEOUT, outcome_unknown=True)
        except Exception as error:
            # Log the type only, because the error's text and traceback may hold a token that the provider echoed.
            _log.warning("a refresher for %s raised %s", request.account.provider, type(error).__qualname__)
            return RefreshFailedError(outcome_unknown=True)
        if isinstance(answer, TokenSet):
            return answer
        _log.error("a refresher for %s returned no TokenSet", request.account.provider)
        return RefreshFailedError(outcome_unknown=True)

    async def _keep_lease(self, attempt: Attempt) -> None:
        # The credential of a provider that does not rotate may be presented at any time, so no other attempt need wait.
        if not self._is_reusable(attempt.account):
            await self._renew(attempt)

    def _is_reusable(self, account: Account) -> bool:
        return self._refreshers[account.provider].rotation.kind is RotationKind.NON_ROTATING

    async def _renew(self, attempt: Attempt) -> bool:
        """Renew the lease; return whether the attempt is known to hold it.

        If the renewal fails, a running exchange goes on, because its answer is stored by compare-and-set.
        """
        try:
            is_held = await self._ledger.renew(attempt, attempt.lease)
        except StorageError as error:
            _log.warning("a lease could not be renewed (%s)", error.code)
            return False
        if not is_held:
            _log.info("a lease was not renewed, because its attempt has ended or is no longer the latest one")
        return is_held


@define
class Patience:
    """Limits a caller's wait for other attempts, and for turns.

    When a caller first sees an attempt, it notes the end of the attempt's lease, and waits until then. If the lease
    still runs then, the attempt has renewed it, because the provider has not answered in time. So the caller stops
    waiting.
    """

    _attempt_id: UUID | None = None
    _end: float = 0.0
    _turns_end: float | None = None

    def is_over(self, record: AccountRecord | None, left: timedelta, now: float) -> bool:
        """Return whether the caller has waited long enough for the attempt that holds the lease now.

        Args:
            record: the stored account; None if nothing is stored.
            left: the time until the lease ends.
            now: the monotonic time in seconds.
        """
        attempt_id = None if record is None else record.refresh.attempt_id
        if attempt_id != self._attempt_id:
            self._attempt_id, self._end = attempt_id, now + left.total_seconds() + _LEASE_ENDS
        return now >= self._end

    def left_for_turns(self, now: float, longest: float) -> float:
        """Return the seconds for which the caller may still wait for turns at a provider that limits requests.

        They end ``longest`` seconds after the first call of this method.
        """
        if self._turns_end is None:
            self._turns_end = now + longest
        return max(0.0, self._turns_end - now)


def still_open(account: Account) -> RefreshFailedError:
    """Return the error for a caller whose patience is over while an exchange goes on."""
    return RefreshFailedError(
        "the provider has not answered in time; its answer is still awaited",
        account=account,
        reason=TIMEOUT,
        retry_after=_AGAIN,
        outcome_unknown=True,
    )


def overdue(account: Account) -> RefreshFailedError:
    """Return the error for a caller whose own time is over before there is a token."""
    return RefreshFailedError(
        "no token was found within the timeout; a running refresh goes on", account=account, retry_after=_AGAIN
    )
