"""Runs one sweep: takes due accounts, applies the rules to each, and refreshes a few per provider at a time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from attrs import define, field, frozen

from vault_domain.entities.account import Account
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.errors import (
    DecryptionError,
    KeyUnavailableError,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    VaultError,
)
from vault_domain.entities.measures import Operation
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.reports import SweepReport
from vault_domain.ports.accounts import DueAccount, Snapshot
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.clients import LONGEST_WAIT
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.rules.key_states import OF_ONE_TENANT
from vault_domain.rules.refresh import Claim, RefreshRule, decide_ahead, next_due
from vault_domain.services.observing import Observed
from vault_domain.services.refresh.answers import AnswerKeeper
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.refresh.attempts import AttemptRunner
from vault_domain.services.refresh.commits import Refreshed
from vault_domain.services.refresh.pacing import RateLimitedError
from vault_domain.services.refresh.rereading import Rereader
from vault_domain.services.tokens.opening import checked_snapshot
from vault_domain.services.tokens.token_writer import TokenWriter

_log = logging.getLogger(__name__)

_PER_PROVIDER = 10
"""Largest number of refreshes that one sweep runs at one provider at the same time."""

_BATCH = 2 * _PER_PROVIDER
"""Largest number of accounts of a provider in a batch; small enough to visit all before another sweep may take them."""


_Job = tuple[str, Callable[[], Awaitable[None]]]
"""A provider, and the function that visits one of its accounts."""


LONGEST_HOLD = timedelta(minutes=30)
"""Longest time for which an account is reserved. A reserved account becomes due again within this time."""


@define
class _Position:
    """A sweep's position in the due accounts of one provider."""

    rule: RefreshRule
    since: datetime | None = None
    until: datetime | None = None


@frozen
class _Sweep:
    """The state of one running sweep."""

    actor: str | None
    limit: int | None
    positions: dict[str, _Position]
    counts: Counter[str] = field(factory=Counter)
    seen: set[Account] = field(factory=set)

    def wanted(self, taken: int) -> int:
        """Return the number of accounts to take next; some of them may turn out not to be due."""
        return _BATCH if self.limit is None else min(_BATCH, self.limit - self.counts["claimed"] - taken)


class SweepService:
    """Refreshes due accounts; any number of processes may sweep at once."""

    def __init__(
        self,
        ledger: AttemptLedger,
        runner: AttemptRunner,
        keeper: AnswerKeeper,
        tasks: Tasks,
        policy: RefreshPolicy,
        rules: Mapping[str, RefreshRule],
        writing: TokenWriter,
        rereader: Rereader,
        observed: Observed | None = None,
    ) -> None:
        self._rereader = rereader
        self._ledger = ledger
        self._writing = writing
        self._runner = runner
        self._keeper = keeper
        self._tasks = tasks
        self._policy = policy
        self._rules = rules
        self._observed = observed or Observed()

    async def sweep(
        self, limit: int | None, should_stop: Callable[[], bool] | None, *, actor: str | None
    ) -> SweepReport:
        """Refresh up to ``limit`` due accounts of all providers together (None: all).

        First, the sweep tries to store waiting answers and to read kept answers again, and writes the event
        ``refresh_token_expiring`` for refresh tokens that expire soon. Then it repeatedly takes a batch of accounts at
        every provider, in the order in which they became due. It ends when it has visited all accounts that were due at
        its start. If ``should_stop`` returns True, it ends after the accounts that it has already taken.
        """
        with self._observed.step(Operation.SWEEP):
            return await self._sweep(limit, should_stop, actor)

    async def _sweep(self, limit: int | None, should_stop: Callable[[], bool] | None, actor: str | None) -> SweepReport:
        await self._keeper.retry_all()
        await self._rereader.read_all()
        await self._writing.note_ending(lambda: self._is_to_stop(should_stop), actor=actor)
        sweep = _Sweep(actor, limit, {provider: _Position(rule) for provider, rule in self._rules.items()})
        while sweep.positions and sweep.wanted(0) > 0 and not self._is_to_stop(should_stop):
            jobs: list[_Job] = []
            for provider in list(sweep.positions):
                wanted = sweep.wanted(len(jobs))
                if wanted > 0:
                    jobs += await self._take(provider, sweep, wanted)
            await self._tasks.run_all(jobs, _PER_PROVIDER)
        return SweepReport(**sweep.counts)

    def _is_to_stop(self, should_stop: Callable[[], bool] | None) -> bool:
        return self._runner.is_stopped or (should_stop is not None and should_stop())

    async def _take(self, provider: str, sweep: _Sweep, wanted: int) -> list[_Job]:
        """Take the next due accounts of a provider.

        If there are none, or no request may be sent to the provider now, the sweep is finished with the provider.
        """
        position = sweep.positions[provider]
        due: list[DueAccount] = []
        places = await self._runner.guard.places(provider)
        room = self._runner.pacer.room(provider)
        wanted = min(each for each in (wanted, places, room) if each is not None)
        if wanted > 0:
            # Reserve for twice the time of a lease, because the second half of a batch waits for the first half.
            hold = min(2 * position.rule.timing.lease, LONGEST_HOLD)
            due, now = await self._ledger.reserve_due(
                provider, hold=hold, limit=wanted, since=position.since, until=position.until
            )
            # If the clock was set back, reserved accounts may become due again before the `until` of an earlier batch.
            # So `until` goes back with the clock, and the sweep does not take these accounts again.
            position.until = now if position.until is None else min(position.until, now)
        if not due:
            del sweep.positions[provider]
            return []
        position.since = due[-1].due_at
        # Visit an account only once per sweep, because an account whose lease was released is due again at once.
        new = [each.account for each in due if each.account not in sweep.seen]
        sweep.seen.update(new)
        return [(provider, partial(self._visit, account, position.rule, sweep)) for account in new]

    async def _visit(self, account: Account, rule: RefreshRule, sweep: _Sweep) -> None:
        """Refresh one account or reschedule it; a failure is counted and does not affect other accounts."""
        counts = sweep.counts
        try:
            outcome = await self._runner.turns.run(account, lambda: self._refresh(account, rule, sweep))
        except ReauthorizationRequiredError:
            counts["reauthorization_required"] += 1
        except RateLimitedError:
            counts["skipped"] += 1
        except DecryptionError:
            counts["unreadable"] += 1
        except VaultError as error:
            counts["failed"] += 1
            _log.info("a refresh at %s failed (%s)", account.provider, error.reason or error.code)
        except Exception as error:  # one account's error must not end the sweep
            counts["failed"] += 1
            _log.error("a refresh at %s ended with %s", account.provider, type(error).__qualname__)
        else:
            if outcome is not None:
                counts["refreshed" if isinstance(outcome, Refreshed) else "skipped"] += 1

    async def _refresh(self, account: Account, rule: RefreshRule, sweep: _Sweep) -> object | None:
        """Claim and refresh an account if the rules say so, else reschedule it; return None if no attempt was begun."""
        if self._runner.is_stopped:
            return None
        started = self._tasks.monotonic()
        snapshot = checked_snapshot(account, await self._ledger.read(account))
        since = snapshot.undisturbed_since(rule.timing.lease)
        decision = decide_ahead(snapshot.record, snapshot.now, self._policy, rule, since, snapshot.turned_at)
        if not isinstance(decision, Claim):
            await self._ledger.reschedule(account, partial(self._judge, rule, snapshot))
            return None
        attempt = await self._claim(account, await self._runner.endpoints.placed(account, decision, snapshot), rule)
        if attempt is None:
            return None  # another sweep or a caller was faster
        sweep.counts["claimed"] += 1
        try:
            return await self._runner.run(attempt, started=started, actor=sweep.actor)
        except KeyUnavailableError as error:
            if error.reason in OF_ONE_TENANT:
                await self._postpone(account)
            raise

    async def _claim(self, account: Account, decision: Claim, rule: RefreshRule) -> Attempt | None:
        """Claim an account.

        If its client is paused or has no turn now, make the account due later, so that few sweeps read it.
        """
        try:
            return await self._runner.claim(account, decision, rule.timing.lease)
        except ProviderConfigurationError:
            await self._postpone(account)
            raise
        except RateLimitedError as error:
            turn = (error.retry_after or timedelta(0)) * (1 + self._tasks.jitter())
            await self._ledger.reschedule(account, lambda _, now: now + turn)
            raise

    async def _postpone(self, account: Account) -> None:
        """Make an account due later, because nothing can be sent for it now, so that few sweeps read it."""
        wait = LONGEST_WAIT * max(0.2, self._tasks.jitter())
        await self._ledger.reschedule(account, lambda _, now: now + wait)

    def _judge(self, rule: RefreshRule, read: Snapshot, record: AccountRecord | None, now: datetime) -> datetime | None:
        since = read.undisturbed_since(rule.timing.lease)
        return next_due(record, now, self._policy, rule, since, read.turned_at)
