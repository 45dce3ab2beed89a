"""Returns a valid access token: the stored one, or a new one from a refresh by this caller or another."""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from attrs import frozen

from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import (
    KeyUnavailableError,
    RefreshFailedError,
    RefreshNotPersistedError,
    StorageError,
    VaultError,
)
from vault_domain.entities.measures import Operation
from vault_domain.entities.token import StoredToken, Token, TokenInfo, TokenRef, UsableToken
from vault_domain.ports.accounts import Snapshot
from vault_domain.ports.pages import Pages
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.freshness import RefreshPolicy, is_usable
from vault_domain.rules.refresh import (
    BackOff,
    Claim,
    Decision,
    Demand,
    NoRefresher,
    NothingStored,
    Reauthorize,
    RefreshRule,
    Use,
    Wait,
    decide,
)
from vault_domain.rules.timing import RefreshTiming
from vault_domain.services.observing import Observed
from vault_domain.services.refresh.answers import AnswerKeeper
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.attempts import AttemptRunner
from vault_domain.services.refresh.commits import Refreshed
from vault_domain.services.refresh.exchange import Patience, overdue, still_open
from vault_domain.services.refresh.failures import NothingSent
from vault_domain.services.refresh.pacing import RateLimitedError
from vault_domain.services.refresh.refusing import not_found, refusal_of
from vault_domain.services.tokens.opening import checked_snapshot
from vault_domain.services.tokens.reading import PATIENCE
from vault_domain.services.tokens.token_service import Access, TokenService

_log = logging.getLogger(__name__)

_AFTER_OTHERS = timedelta(seconds=30)
"""Time after which a caller may ask again if other attempts took too long."""

_FIRST_POLL, _LONGEST_POLL = 0.02, 0.5

_PATIENCE = 1.0
"""Longest time in seconds that a caller whose token is still valid waits for a new one."""

_LEAST_LOOK = 0.25
"""Least time (seconds) for a read of the stored token, so that even a timeout of 0 returns this token."""

_LOOK_SHARE = 0.8
"""Share of a read's time limit after which a remembered token is returned."""

_LAST_LOOK = 0.25
"""Seconds of a caller's timeout that are kept for a last read, because another process may have stored a token."""

_MOST_LEASES = 3
"""Longest time that a caller waits for other attempts, as a number of leases."""

_MOST_ATTEMPTS = 2
"""Largest number of attempts for one caller, counting only attempts that the provider answered.

A second attempt follows if the first answer was overtaken by another change, or its access token has already expired.
"""


@frozen
class _Caller:
    demand: Demand
    actor: str | None


class RefreshService:
    """Refreshes a token exactly once across processes. The facade has validated the arguments."""

    def __init__(
        self,
        tokens: TokenService,
        ledger: AttemptLedger,
        runner: AttemptRunner,
        keeper: AnswerKeeper,
        tasks: Tasks,
        policy: RefreshPolicy,
        rules: Mapping[str, RefreshRule],
        pages: Pages,
        observed: Observed | None = None,
    ) -> None:
        self._tokens = tokens
        self._pages = pages
        self._ledger = ledger
        self._runner = runner
        self._keeper = keeper
        self._tasks = tasks
        self._policy = policy
        self._rules = rules
        self._observed = observed or Observed()

    @property
    def is_running(self) -> bool:
        """Whether a provider may be about to answer, or its answer is being stored."""
        return self._runner.is_running

    def stop(self) -> None:
        """Start no refresh any more, because the vault is closing; running refreshes end normally."""
        self._runner.stop()
        self._keeper.stop_waiting()

    def at_hand(self, account: Account) -> Token | None:
        """Return what `ensure` returns if that needs no waiting; None: call `ensure`."""
        return None if self._old_token_dies(account) else self._tokens.access_at_hand(account)

    async def ensure(self, account: Account, timeout: float | None, *, actor: str | None, fresh: bool = False) -> Token:
        """Return an access token that may be used now; refresh it first if it is due.

        ``timeout`` (seconds) covers everything, the first read included. A read may take a quarter of a second, even if
        the timeout is shorter. A caller whose token is still valid waits at most a second for a new token, and the
        refresh then goes on without the caller. The limit of a second does not apply if a refresh ends the old token.
        If ``fresh`` is True, the first read does not use remembered rows.
        """
        started = self._tasks.monotonic()
        end = math.inf if timeout is None else started + timeout
        if self._old_token_dies(account):
            # Read the account and not only its token, because an attempt, which ends the token, may be running.
            return await self._share(account, account, _Caller(Demand(), actor), max(end, started + _LEAST_LOOK))
        found: UsableToken | None = None
        if not self._keeper.is_pending(account):
            look = await self._first_look(account, timeout, fresh=fresh)
            found, now = look.usable, look.now
            # The token is still valid, so a caller need not wait for a running refresh, nor for an unreachable store.
            if found is not None and (not found.needs_refresh or look.is_stale or self._tasks.is_flying(account)):
                return found.token
        caller = _Caller(Demand(), actor)
        if found is None:
            return await self._share(account, account, caller, end)
        token = await self._refresh_ahead(account, caller, min(end, self._tasks.monotonic() + _PATIENCE))
        if token is not None:
            return token
        passed = timedelta(seconds=self._tasks.monotonic() - started)
        if is_usable(found.token.info, now + passed):
            return found.token
        return await self._share(account, account, caller, end)

    async def _first_look(self, account: Account, timeout: float | None, *, fresh: bool) -> Access:
        if timeout is None:
            return await self._tokens.find_access(account, None, fresh=fresh)
        try:
            return await self._look(account, max(timeout, _LEAST_LOOK), fresh=fresh)
        except TimeoutError:
            pass  # raise the new error below, so that it has no ``__context__``
        raise overdue(account)

    async def _look(self, account: Account, seconds: float, *, fresh: bool = False) -> Access:
        """Read the access token in a call of its own, because cancelling a read that hangs may hang too."""
        key = ("look", self._tasks.new_id())
        patience = min(PATIENCE, _LOOK_SHARE * seconds)  # a remembered token is returned just before the time is over
        return await self._tasks.share(
            key, lambda: self._tokens.find_access(account, None, fresh=fresh, patience=patience), seconds
        )

    async def _refresh_ahead(self, account: Account, caller: _Caller, end: float) -> Token | None:
        """Replace a token that is still valid.

        Return None if there is no new token by ``end``, or if the store or the master key fails.
        """
        try:
            return await self._wait_for(account, account, caller, end)
        except (TimeoutError, StorageError, KeyUnavailableError) as error:
            _log.info("a refresh ahead gave no token in time (%s); the stored one is still valid", type(error).__name__)
            return None

    async def refresh(self, account: Account, *, actor: str | None) -> Token:
        """Return a new access token, even if the stored one is not due."""
        snapshot = checked_snapshot(account, await self._ledger.read(account))
        access = snapshot.token(TokenKind.ACCESS_TOKEN)
        caller = _Caller(Demand(forced=True, replaced=TokenRef.of(access.info) if access else None), actor)
        return await self._share(("forced", account), account, caller, math.inf)

    async def replace(self, info: TokenInfo, *, actor: str | None) -> Token:
        """Return an access token that is newer than ``info``; refresh the account unless another caller has done so."""
        demand = Demand(replaced=TokenRef.of(info))
        return await self._share(demand.replaced, info.key.account, _Caller(demand, actor), math.inf)

    async def _share(self, key: Hashable, account: Account, caller: _Caller, end: float) -> Token:
        """Return a token before the monotonic time ``end``, from a call that callers with the same ``key`` share."""
        dies = self._old_token_dies(account)
        reserve = 0.0 if dies else min(_LAST_LOOK, (end - self._tasks.monotonic()) / 4)
        found: UsableToken | None = None
        try:
            return await self._wait_for(key, account, caller, end - reserve)
        except TimeoutError:
            pass  # raise the new error below, so that it has no ``__context__``
        if dies:  # a read would find a token that the running attempt may invalidate
            raise overdue(account)
        with suppress(TimeoutError, StorageError):
            look = await self._look(account, max(_LEAST_LOOK, end - self._tasks.monotonic()))
            found = look.usable
        if found is not None:
            return found.token
        raise overdue(account)

    async def _wait_for(self, key: Hashable, account: Account, caller: _Caller, end: float) -> Token:
        left = None if end == math.inf else max(0.0, end - self._tasks.monotonic())
        # Metrics have a series for each provider's name. A name without a refresher may be any text from a request, so
        # pass only names with a refresher.
        with self._observed.step(Operation.ENSURE, account.provider if account.provider in self._rules else None):
            return await self._tasks.share(key, lambda: self._obtain(account, caller), left)

    async def _obtain(self, account: Account, caller: _Caller) -> Token:
        """Read the account and carry out the decision, repeatedly, until there is a token or an error."""
        poll, attempts, patience = _FIRST_POLL, 0, Patience()
        end = self._tasks.monotonic() + _MOST_LEASES * self._lease(account).total_seconds()
        while self._tasks.monotonic() < end and attempts < _MOST_ATTEMPTS:
            snapshot = await self._keeper.read_settled(account)
            if isinstance(snapshot, Token):
                return snapshot
            decision = self._decide(account, snapshot, caller.demand)
            if isinstance(decision, Use):
                row = StoredToken(decision.access, snapshot.sealed[TokenKind.ACCESS_TOKEN])
                return await self._tokens.hand_out(decision.access.key, row, snapshot.now)
            longest = self._lease(account)
            if isinstance(decision, Claim) and not self._runner.is_attempting(account):
                decision = await self._runner.endpoints.placed(account, decision, snapshot)
                outcome = await self._attempt(account, decision, caller, patience)
                if isinstance(outcome, Token):
                    return outcome
                if isinstance(outcome, NothingSent):
                    end += outcome.queued_seconds  # waiting for a turn does not count as waiting for other attempts
                attempts += isinstance(outcome, Refreshed)
                if not self._keeper.is_pending(account):  # otherwise, the waiting answer must be stored first
                    continue
            elif not isinstance(decision, Claim):
                longest = await self._longest_wait(account, decision, snapshot.now)
            is_other = isinstance(decision, Wait) or self._runner.is_attempting(account)
            if is_other and patience.is_over(snapshot.record, longest, self._tasks.monotonic()):
                raise still_open(account)
            # Wait also if the decision is `Claim` while this process runs an attempt. The attempt has not stored its
            # claim yet, or its lease only seems to be over, because the store's clock was set forward.
            await self._tasks.sleep(max(0.001, min(poll * (0.5 + self._tasks.jitter()), longest.total_seconds())))
            poll = min(poll * 1.5, _LONGEST_POLL)
        raise RefreshFailedError(
            "other attempts took too long, or the new tokens were outdated by another change or had already expired",
            account=account,
            retry_after=_AFTER_OTHERS,
        )

    async def _longest_wait(
        self, account: Account, decision: Wait | BackOff | Reauthorize | NoRefresher | NothingStored, now: datetime
    ) -> timedelta:
        """Return how long to wait for another attempt; if the decision is not `Wait`, raise its error."""
        if isinstance(decision, NothingStored):
            raise await not_found(account, self._pages)
        if not isinstance(decision, Wait):
            rule = self._rules.get(account.provider)
            raise refusal_of(decision, account, rule.spends if rule else None)
        self._runner.refuse_if_stopped(account)
        return decision.until - now

    async def _attempt(
        self, account: Account, decision: Claim, caller: _Caller, patience: Patience
    ) -> Token | Refreshed | NothingSent:
        """Claim and refresh the account. If that fails while the stored token is still valid, return that token."""
        try:
            return await self._claim_and_run(account, decision, caller)
        except RefreshNotPersistedError:
            raise
        except RateLimitedError as error:
            found = await self._current(account, caller)
            rest = self._runner.pacer.rest
            return found.token if found else NothingSent(await rest(error, account, decision.endpoint, patience))
        except VaultError as error:
            found = await self._current(account, caller, patient=not isinstance(error, StorageError))
            if found is None:
                raise
            _log.info("a refresh failed (%s); the stored token is still valid", error.code)
            return found.token

    async def _current(self, account: Account, caller: _Caller, *, patient: bool = True) -> UsableToken | None:
        """Return the stored token; None if it does not meet the caller's demand, or if a running attempt may end it.

        If ``patient`` is False, also return None if the store does not answer at once.
        """
        if caller.demand != Demand() or (self._old_token_dies(account) and self._runner.is_attempting(account)):
            return None
        if patient:
            return await self._tokens.get_access(account, None)
        with suppress(TimeoutError, StorageError):
            return (await self._look(account, _LEAST_LOOK)).usable
        return None

    async def _claim_and_run(
        self, account: Account, decision: Claim, caller: _Caller
    ) -> Token | Refreshed | NothingSent:
        asked = self._tasks.monotonic()

        async def work() -> Token | Refreshed | NothingSent:
            queued = self._tasks.monotonic() - asked
            outcome = await self._run_in_turn(account, decision, caller)
            return NothingSent(queued) if isinstance(outcome, NothingSent) else outcome

        return await self._runner.turns.run(account, work)

    async def _run_in_turn(self, account: Account, decision: Claim, caller: _Caller) -> Token | Refreshed | NothingSent:
        started = self._tasks.monotonic()
        attempt = await self._runner.claim(account, decision, self._lease(account))
        if attempt is None:
            return NothingSent()
        outcome = await self._runner.run(attempt, started=started, actor=caller.actor)
        if isinstance(outcome, NothingSent):
            return outcome
        return await self._result(account, outcome)

    async def _result(self, account: Account, refreshed: Refreshed) -> Token | Refreshed:
        """Return the new token, or ``refreshed`` if there is no usable token.

        A token that is already due is returned too, because otherwise refreshes would repeat without end.
        """
        if refreshed.held is not None:
            return refreshed.held
        if refreshed.stored is not None:
            row, now = refreshed.stored, refreshed.stored.info.updated_at
        else:  # overtaken by another change
            snapshot = checked_snapshot(account, await self._ledger.read(account))
            access, now = snapshot.token(TokenKind.ACCESS_TOKEN), snapshot.now
            if access is None:
                return refreshed
            row = access
        key = account.key(TokenKind.ACCESS_TOKEN)
        return await self._tokens.hand_out(key, row, now) if is_usable(row.info, now) else refreshed

    def _decide(self, account: Account, read: Snapshot, demand: Demand) -> Decision:
        rule = self._rules.get(account.provider)
        since = None if rule is None else read.undisturbed_since(rule.timing.lease)
        return decide(read.record, read.now, self._policy, rule, demand, since, read.turned_at)

    def _old_token_dies(self, account: Account) -> bool:
        rule = self._rules.get(account.provider)
        return rule is not None and rule.old_token_dies

    def _lease(self, account: Account) -> timedelta:
        rule = self._rules.get(account.provider)
        return (RefreshTiming() if rule is None else rule.timing).lease
