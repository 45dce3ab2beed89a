"""One sweep: claim what is due, in batches, and refresh it with a limit per provider."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

from vault_domain.entities.account import Account
from vault_domain.entities.errors import DecryptionError, ReauthorizationRequiredError, VaultError
from vault_domain.entities.reports import SweepReport
from vault_domain.ports.refresh_ledger import Attempt, DuePlace, RefreshLedger
from vault_domain.ports.tasks import Tasks
from vault_domain.rules.freshness import RefreshPolicy
from vault_domain.rules.refresh import RefreshRule
from vault_domain.services.refresh.answers import AnswerKeeper, Refreshed
from vault_domain.services.refresh.attempts import AttemptRunner

_log = logging.getLogger(__name__)

_PER_PROVIDER = 10
"""Refreshes under way at one provider."""

_BATCH = 2 * _PER_PROVIDER
"""Accounts claimed together: the last of them must get its turn while its lease lasts."""


class SweepService:
    """Refreshes what is due; any number of processes may sweep at once."""

    def __init__(
        self,
        ledger: RefreshLedger,
        runner: AttemptRunner,
        keeper: AnswerKeeper,
        tasks: Tasks,
        policy: RefreshPolicy,
        rules: Mapping[str, RefreshRule],
    ) -> None:
        self._ledger = ledger
        self._runner = runner
        self._keeper = keeper
        self._tasks = tasks
        self._policy = policy
        self._rules = rules

    async def sweep(
        self, limit: int | None, should_stop: Callable[[], bool] | None, *, actor: str | None
    ) -> SweepReport:
        """Refresh up to ``limit`` accounts that are due (None: all), soonest first, until it is to stop."""
        await self._keeper.retry_all()
        counts: Counter[str] = Counter()
        seen: set[Account] = set()
        after: DuePlace | None = None
        while self._rules and (limit is None or len(seen) < limit):
            if should_stop is not None and should_stop():
                break
            wanted = _BATCH if limit is None else min(_BATCH, limit - len(seen))
            started = self._tasks.monotonic()
            batch = await self._claim(wanted, after)
            if not batch:
                break
            # An answer may be due again at once, behind this place: once in a sweep is enough.
            new = [attempt for attempt, _ in batch if attempt.account not in seen]
            again = [attempt for attempt, _ in batch if attempt.account in seen]
            seen.update(attempt.account for attempt in new)
            jobs = [(attempt.account.provider, partial(self._run, attempt, started, counts, actor)) for attempt in new]
            jobs += [(attempt.account.provider, partial(self._ledger.release, attempt)) for attempt in again]
            await self._tasks.run_all(jobs, _PER_PROVIDER)
            after = batch[-1][1]
        return SweepReport(claimed=len(seen), **counts)

    async def _claim(self, limit: int, after: DuePlace | None) -> list[tuple[Attempt, DuePlace]]:
        rules = {name: rule for name, rule in self._rules.items() if not self._runner.is_refused(name)}
        return await self._ledger.claim_due(rules, horizon=self._policy.horizon, limit=limit, after=after)

    async def _run(self, attempt: Attempt, started: float, counts: Counter[str], actor: str | None) -> None:
        """Refresh one account; a failure is counted and stays with its account."""
        try:
            outcome = await self._runner.run(attempt, started=started, actor=actor)
        except ReauthorizationRequiredError:
            counts["reauthorization_required"] += 1
        except DecryptionError:
            counts["unreadable"] += 1
        except VaultError as error:
            counts["failed"] += 1
            _log.info("a refresh at %s failed (%s)", attempt.account.provider, error.reason or error.code)
        except Exception as error:  # the others of the sweep must not fall with it
            counts["failed"] += 1
            _log.error("a refresh at %s ended with %s", attempt.account.provider, type(error).__qualname__)
        else:
            counts["refreshed" if isinstance(outcome, Refreshed) else "skipped"] += 1
