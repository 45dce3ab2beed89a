"""A store that fails over: it loses its last commits, and has another timeline from then on."""

from datetime import timedelta

import pytest
from attrs import evolve
from tests.examples.dict_store import open_dict_store
from tests.examples.dict_store.database import DictDatabase
from tests.services.conftest import ACCESS, ACCOUNT, HOUR, REFRESH, Cases, Parts, answer
from tests.services.fakes import MASTER_KEY, EventList, MemoryJournal, PlainCipher, VirtualTasks

from vault_adapters import Account, RefreshFailedError, Rotation, StorageError, TokenSet
from vault_adapters.testing import ManualClock, ScriptedRefresher
from vault_adapters.testing.contract.master_keys import introduce_first
from vault_domain.rules.timing import RefreshTiming
from vault_domain.services.refresh.attempt_ledger import AttemptLedger

SECOND = timedelta(seconds=1)
HOLD = RefreshTiming().hold


class Turning:
    """A refresh ledger whose timeline a test changes."""

    def __init__(self, database, right):
        self._database, self._right = database, right
        self.timeline, self.turned_at, self.is_away = "1", None, False

    def __getattr__(self, name):
        return getattr(self._right, name)

    async def read(self, account, *, with_values=True):
        if self.is_away:
            raise StorageError("away", retryable=True)
        snapshot = await self._right.read(account)
        return evolve(snapshot, timeline=self.timeline, turned_at=self.turned_at or snapshot.now - HOUR)

    def fail_over(self, tables, now):
        """Go on with these tables, under a new timeline."""
        self._database.tables = tables
        self.timeline, self.turned_at = "2", now


@pytest.fixture
async def world(refresher):
    """Give the use cases, the ledger that turns, and a function that returns a copy of the store's tables."""
    clock, database = ManualClock(), DictDatabase()
    async with open_dict_store(database, clock) as store:
        await introduce_first(store.keys, MASTER_KEY)
        ledger = Turning(database, AttemptLedger(store.accounts))
        tasks, journal = VirtualTasks(clock), MemoryJournal()
        cases = Cases(
            evolve(Parts.of(store), refreshes=ledger),
            clock,
            PlainCipher(store.keys),
            EventList(),
            tasks,
            journal,
            {"google": refresher},
        )
        await cases.connect()
        clock.advance(HOUR)
        yield cases, ledger, lambda: database.tables.copy()  # noqa: PLW0108 - the tables at the time of the call


async def ensure(cases):
    return (await cases.refreshing.ensure(ACCOUNT, None, actor=None)).value.reveal()


async def stored(cases):
    return [(await cases.tokens.get(key)).value.reveal() for key in (ACCESS, REFRESH)]


async def test_an_answer_that_the_store_lost_is_stored_again(world, refresher):
    cases, ledger, copy = world
    before = copy()
    refresher.then(answer(1))
    await ensure(cases)
    [access] = [token.value_id for token in [(await cases.tokens.get(ACCESS)).info]]
    ledger.fail_over(before, cases.clock.now())
    assert await stored(cases) == ["access-0", "refresh-0"]
    await cases.keeper.retry_all()
    assert await stored(cases) == ["access-1", "refresh-1"]
    assert (await cases.tokens.get(ACCESS)).info.value_id == access
    await cases.keeper.retry_all()
    assert len(refresher.calls) == 1


async def test_answers_that_follow_each_other_are_stored_again_in_their_order(world, refresher):
    cases, ledger, copy = world
    before = copy()
    for number in (1, 2, 3):
        refresher.then(answer(number, lifetime=1))
        await cases.refreshing.refresh(ACCOUNT, actor=None)
    ledger.fail_over(before, cases.clock.now())
    await cases.keeper.retry_all()
    assert await stored(cases) == ["access-3", "refresh-3"]


async def test_a_caller_gets_it_before_the_credential_is_presented(world, refresher):
    cases, ledger, copy = world
    before = copy()
    refresher.then(answer(1))
    await ensure(cases)
    ledger.fail_over(before, cases.clock.now())
    assert await ensure(cases) == "access-1"
    assert len(refresher.calls) == 1


async def test_a_sweep_presents_no_credential_that_this_process_has_spent(world, refresher):
    """The store loses its last commits. Its timeline stays, because a new timeline would make the sweep wait."""
    cases, ledger, copy = world
    before = copy()
    refresher.then(answer(1))
    await ensure(cases)
    ledger.fail_over(before, cases.clock.now() - HOUR)
    ledger.timeline = "1"
    await cases.sweeping.sweep(None, None, actor=None)
    await cases.keeper.retry_all()
    assert (len(refresher.calls), await stored(cases)) == (1, ["access-1", "refresh-1"])


async def test_it_is_held_in_the_journal_for_the_configured_time_and_no_longer(world, refresher):
    cases, _, _ = world
    refresher.then(answer(1))
    await ensure(cases)
    await cases.tasks.sleep((HOLD - SECOND).total_seconds())
    await cases.keeper.retry_all()
    assert len(await cases.journal.entries()) == 1
    await cases.tasks.sleep(1)
    await cases.keeper.retry_all()
    assert await cases.journal.entries() == []


async def test_it_is_held_on_while_the_store_does_not_answer(world, refresher):
    cases, ledger, copy = world
    before = copy()
    refresher.then(answer(1))
    await ensure(cases)
    ledger.is_away = True
    await cases.tasks.sleep(2 * HOLD.total_seconds())
    await cases.keeper.retry_all()
    ledger.is_away = False
    ledger.fail_over(before, cases.clock.now())
    await cases.keeper.retry_all()
    assert await stored(cases) == ["access-1", "refresh-1"]
    assert len(await cases.journal.entries()) == 1  # the new server may fail too
    await cases.tasks.sleep(HOLD.total_seconds())
    await cases.keeper.retry_all()
    assert await cases.journal.entries() == []


@pytest.mark.parametrize("why", ["switched off", "nothing was spent", "the store loses nothing"])
async def test_nothing_is_held_where_nothing_can_be_lost(world, refresher, why):
    cases, ledger, _ = world
    if why == "switched off":
        cases = cases.over(timing=RefreshTiming(hold=timedelta(0)))
    if why == "the store loses nothing":
        ledger.timeline = None
    kept = why == "nothing was spent"
    refresher.then(TokenSet("access-1", None if kept else "refresh-1", expires_in=3600))
    await ensure(cases)
    assert await cases.journal.entries() == []


async def test_a_newer_value_of_the_host_stays(world, refresher):
    cases, ledger, copy = world
    refresher.then(answer(1))
    await ensure(cases)
    await cases.connect(number=7)
    ledger.fail_over(copy(), cases.clock.now())
    await cases.keeper.retry_all()
    assert await stored(cases) == ["access-7", "refresh-7"]


# Other processes


async def test_no_credential_of_a_strict_provider_is_presented_for_a_while(world, refresher):
    cases, ledger, copy = world
    ledger.fail_over(copy(), cases.clock.now())
    refresher.then(answer(1))
    for work in (ensure(cases), cases.refreshing.refresh(ACCOUNT, actor=None)):
        with pytest.raises(RefreshFailedError) as caught:
            await work
        assert caught.value.retry_after == HOLD
    report = await cases.sweeping.sweep(None, None, actor=None)
    assert (report.claimed, len(refresher.calls)) == (0, 0)
    cases.clock.advance(HOLD)
    assert await ensure(cases) == "access-1"


async def test_a_decision_from_before_the_failover_is_taken_back(world, refresher):
    """The account was read from the old server, and claimed at the new one."""
    cases, ledger, copy = world

    class Overtaken:
        def __getattr__(self, name):
            return getattr(ledger, name)

        async def claim(self, attempt, seen):
            ledger.fail_over(copy(), cases.clock.now())
            return await ledger.claim(attempt, seen)

    cases = cases.over(store=evolve(cases.store, refreshes=Overtaken()))
    with pytest.raises(RefreshFailedError):
        await ensure(cases)
    assert len(refresher.calls) == 0


async def test_a_provider_that_is_not_strict_is_asked_at_once(world):
    cases, ledger, copy = world
    refresher = ScriptedRefresher(rotation=Rotation.grace(600))
    cases = cases.over(refreshers={"google": refresher})
    ledger.fail_over(copy(), cases.clock.now())
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"


# The next process


async def test_the_next_process_stores_the_answers_of_a_journal_in_their_order(world, refresher):
    cases, ledger, copy = world
    before = copy()
    for number in (1, 2, 3):
        refresher.then(answer(number, lifetime=1))
        await cases.refreshing.refresh(ACCOUNT, actor=None)
        cases.clock.advance(SECOND)
    assert len(await cases.journal.entries()) == 3
    ledger.fail_over(before, cases.clock.now())
    successor = cases.over(sink=EventList())
    await successor.keeper.recover()
    assert await stored(successor) == ["access-3", "refresh-3"]
    assert await successor.journal.entries() == []


async def test_a_vault_that_closes_empties_its_journal_if_the_store_answers(world, refresher):
    cases, ledger, _ = world
    refresher.then(answer(1))
    await ensure(cases)
    ledger.is_away = True
    await cases.keeper.close(1)
    assert len(await cases.journal.entries()) == 1
    ledger.is_away = False
    await cases.keeper.close(1)
    assert await cases.journal.entries() == []


async def test_a_vault_that_closes_keeps_what_it_could_not_confirm_in_its_journal(world, refresher):
    cases, ledger, copy = world
    before = copy()
    refresher.then(answer(1))
    await ensure(cases)
    ledger.fail_over(before, cases.clock.now())
    looks = 0

    async def look_once(account):
        nonlocal looks
        looks += 1
        return await right(account) if looks == 1 else None

    right, cases.keeper._tokens.look = cases.keeper._tokens.look, look_once
    await cases.keeper.close(1)
    assert len(await cases.journal.entries()) == 1
    successor = cases.over(sink=EventList())
    await successor.keeper.recover()
    assert await stored(successor) == ["access-1", "refresh-1"]


async def test_accounts_do_not_hold_each_other(world, refresher):
    cases, ledger, copy = world
    other = Account("t1", "google", "bob")
    await cases.connect(other, number=10)
    before = copy()
    refresher.then(answer(1))
    await ensure(cases)
    ledger.fail_over(before, cases.clock.now() - HOUR)
    refresher.then(answer(11))
    assert (await cases.refreshing.refresh(other, actor=None)).value.reveal() == "access-11"
    assert await stored(cases) == ["access-0", "refresh-0"]
