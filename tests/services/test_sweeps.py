"""Limits of a sweep: how providers share the limit, and which accounts a sweep leaves to other sweeps."""

import asyncio
from datetime import timedelta

import pytest
from attrs import evolve
from tests.services.conftest import ACCOUNT, TIMING
from tests.services.fakes import LimitedTasks, settle

from vault_adapters import Account, RefreshFailedError, Rotation, SweepReport, TokenKind, TokenSet
from vault_adapters.testing import ScriptedRefresher
from vault_adapters.testing.contract.refreshing import claimed

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def answers(count, first=None):
    """Return a refresher that answers ``count`` calls.

    If ``first`` is given, the refresher answers one call before these, and this call runs ``first``.
    """

    async def answer_after_it(request):
        await first()
        return TokenSet("access", "refresh", expires_in=HOUR)

    rest = [TokenSet("access", "refresh", expires_in=HOUR)] * count
    return ScriptedRefresher(*([] if first is None else [answer_after_it]), *rest)


async def connect(cases, provider, count):
    for number in range(count):
        await cases.connect(Account("t1", provider, f"{number:02}"), lifetime=3600 + number)


async def sweep(cases, limit=None):
    return await cases.sweeping.sweep(limit, None, actor=None)


@pytest.mark.parametrize("limit", [5, 10, 25])
async def test_providers_share_the_limit_of_a_sweep(cases, limit):
    cases = cases.over(refreshers={"google": answers(30), "github": answers(30)})
    for provider in cases.refreshers:
        await connect(cases, provider, 20)
    cases.clock.advance(HOUR)
    assert await sweep(cases, limit) == SweepReport(claimed=limit, refreshed=limit)


class Held:
    """A refresher whose calls wait until the test lets them go on; it counts how many run at once."""

    rotation = Rotation.strict()
    spends = TokenKind.REFRESH_TOKEN

    def __init__(self, go_on):
        self._go_on = go_on
        self.running = self.most = 0

    async def refresh(self, request):
        self.running += 1
        self.most = max(self.most, self.running)
        await self._go_on.wait()
        self.running -= 1
        return TokenSet("access", "refresh", expires_in=HOUR)


async def test_each_provider_has_a_limit_of_its_own(cases):
    go_on = asyncio.Event()
    providers = {name: Held(go_on) for name in ("google", "github")}
    cases = cases.over(refreshers=providers, tasks=LimitedTasks(cases.clock))
    for provider in providers:
        await connect(cases, provider, 25)
    cases.clock.advance(HOUR)
    sweeping = asyncio.create_task(sweep(cases))
    await settle()
    assert [provider.running for provider in providers.values()] == [10, 10]
    go_on.set()
    assert await sweeping == SweepReport(claimed=50, refreshed=50)
    assert [provider.most for provider in providers.values()] == [10, 10]


async def test_what_becomes_due_during_a_sweep_is_left_to_the_next_one(cases):
    async def let_time_pass():
        cases.clock.advance(2 * MINUTE)

    cases = cases.over(refreshers={"google": answers(1, first=let_time_pass)})
    await cases.connect(lifetime=3600)
    await cases.connect(evolve(ACCOUNT, identifier="later"), lifetime=3660)
    cases.clock.advance(50 * MINUTE)
    assert await sweep(cases) == SweepReport(claimed=1, refreshed=1)
    assert await sweep(cases) == SweepReport(claimed=1, refreshed=1)


async def test_what_a_sweep_has_taken_is_not_due_for_another_one(cases):
    """The sweep reserves twenty accounts and refreshes ten at a time, so the other ten have no lease yet."""
    seen = []

    async def look():
        due, _ = await cases.store.accounts.reserve_due("google", hold=timedelta(0), limit=100, since=None, until=None)
        seen.append(len(due))

    cases = cases.over(refreshers={"google": answers(25, first=look)}, tasks=LimitedTasks(cases.clock))
    await connect(cases, "google", 20)
    cases.clock.advance(HOUR)
    assert await sweep(cases) == SweepReport(claimed=20, refreshed=20)
    assert seen == [0]


async def test_an_account_that_another_has_just_taken_is_not_counted(cases):
    async def claim_first(attempt):
        await claimed(cases.store, attempt.account)

    assert await sweep(await due_with(cases, claim_first)) == SweepReport()


async def test_where_the_claim_took_too_long_nothing_is_sent(cases):
    async def take_long(attempt):
        await cases.tasks.sleep(TIMING.slack.total_seconds() + 1)

    assert await sweep(await due_with(cases, take_long)) == SweepReport(claimed=1, skipped=1)


async def test_an_unexpected_error_stays_with_its_account(cases):
    async def fail(attempt):
        if attempt.account == ACCOUNT:
            raise ArithmeticError

    cases = await due_with(cases, fail)
    await cases.connect(evolve(ACCOUNT, identifier="bob"))
    cases.clock.advance(HOUR)
    assert await sweep(cases) == SweepReport(claimed=1, refreshed=1, failed=1)


async def due_with(cases, before_a_claim):
    """Return use cases with a due account; ``before_a_claim`` runs before each claim."""
    cases = cases.over(refreshers={"google": answers(2)})
    await cases.connect()
    cases.clock.advance(HOUR)
    return cases.over(store=evolve(cases.store, refreshes=Ledger(cases.store.refreshes, before_a_claim)))


class Ledger:
    """A ledger that calls ``before_a_claim`` before each claim."""

    def __init__(self, ledger, before_a_claim):
        self._ledger = ledger
        self._before_a_claim = before_a_claim

    def __getattr__(self, name):
        return getattr(self._ledger, name)

    async def claim(self, attempt, seen):
        await self._before_a_claim(attempt)
        return await self._ledger.claim(attempt, seen)


async def test_a_sweep_ends_although_the_clock_is_set_back_meanwhile(cases):
    """The clock is set back, so the account whose refresh fails becomes due at a time before the start of the sweep."""

    async def set_back():
        cases.clock.advance(-5 * MINUTE)
        raise RefreshFailedError

    cases = cases.over(refreshers={"google": answers(0, first=set_back)})
    await connect(cases, "google", 1)
    cases.clock.advance(HOUR)
    calls = []
    report = await cases.sweeping.sweep(None, lambda: calls.append(None) or len(calls) > 50, actor=None)
    assert report.claimed == 1
    assert len(calls) < 10
