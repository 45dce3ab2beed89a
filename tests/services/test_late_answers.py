"""A provider answers after the callers' deadline. Time is virtual, and tasks run in the real `AsyncioTasks`."""

import asyncio
from datetime import timedelta
from functools import wraps

import pytest
from attrs import evolve
from tests.examples.dict_store import open_dict_store
from tests.examples.dict_store.database import DictDatabase
from tests.services.conftest import ACCOUNT, HOUR, TIMING, Cases, Parts, answer
from tests.services.fakes import MASTER_KEY, EventList, Failing, MemoryJournal, PlainCipher
from tests.simulation.fakes import WorldClock
from tests.simulation.loop import VirtualLoop

from vault_adapters import ConnectionState, ReauthorizationRequiredError, RefreshFailedError, Rotation, StorageError
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_adapters.testing import ScriptedRefresher
from vault_adapters.testing.contract.master_keys import introduce_first
from vault_domain.entities.account import TokenKind
from vault_domain.rules.connection import describe_account

MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)
DEADLINE, LEASE = TIMING.deadline.total_seconds(), TIMING.lease.total_seconds()


class LoopTasks(AsyncioTasks):
    """Tasks whose monotonic clock is the virtual time of the loop."""

    def monotonic(self):
        return asyncio.get_running_loop().time()


def late(seconds, result):
    """Return an answer of a `ScriptedRefresher` that comes after some seconds."""

    async def ask(request):
        await asyncio.sleep(seconds)
        if isinstance(result, Exception):
            raise result
        return result

    return ask


class Process:
    """The use cases of one process over a store that it shares with others."""

    def __init__(self, cases):
        self.cases = cases

    @property
    def calls(self):
        return [call.credential.reveal() for call in self.cases.refreshers["google"].calls]

    def over(self, **changes):
        return Process(self.cases.over(**changes))

    async def ensure(self, timeout=None):
        return (await self.cases.refreshing.ensure(ACCOUNT, timeout, actor=None)).value.reveal()

    async def force(self):
        return (await self.cases.refreshing.refresh(ACCOUNT, actor=None)).value.reveal()

    async def sweep(self):
        return await self.cases.sweeping.sweep(None, None, actor=None)

    async def stored(self):
        snapshot = await self.cases.store.accounts.read(ACCOUNT)
        keys = [ACCOUNT.key(kind) for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN)]
        return [(await self.cases.cipher.open(key, snapshot.sealed[key.kind])).reveal() for key in keys]

    async def state(self):
        return (await self.cases.store.accounts.read(ACCOUNT)).record.refresh


class World:
    """A store, and processes over it, in virtual time."""

    def __init__(self, store, clock, loop):
        self.store, self.clock, self.loop = Parts.of(store), clock, loop

    def now(self):
        return self.loop.time()

    def process(self, *results, rotation=None, **fields):
        refresher = ScriptedRefresher(*results, rotation=rotation or Rotation.strict())
        tasks, cipher = LoopTasks(), PlainCipher(self.store.keys)
        return Process(
            Cases(self.store, self.clock, cipher, EventList(), tasks, MemoryJournal(), {"google": refresher}, **fields)
        )

    async def connected(self, *results, age=HOUR, **fields):
        """Return a process, with an account whose access token was stored ``age`` ago."""
        process = self.process(*results, **fields)
        await process.cases.connect()
        self.clock.offset += age.total_seconds()
        return process

    async def refused(self, call):
        """Wait for the error of a call; return it and the seconds that it took."""
        started = self.now()
        with pytest.raises(RefreshFailedError) as caught:
            await call
        return caught.value, self.now() - started

    async def at(self, seconds):
        await asyncio.sleep(seconds - self.now())


def in_virtual_time(test):
    """Run a test on a loop of its own, whose time jumps to the next timer."""

    @wraps(test)
    def run():
        loop = VirtualLoop(1)

        async def main():
            clock = WorldClock(loop)
            async with open_dict_store(DictDatabase(), clock) as store:
                await introduce_first(store.keys, MASTER_KEY)
                await test(World(store, clock, loop))

        try:
            loop.run_until_complete(main())
        finally:
            loop.close()

    del run.__wrapped__  # pytest would take the argument for a fixture
    return run


@in_virtual_time
async def test_an_answer_after_forty_seconds_is_stored_and_its_refresh_token_is_the_next_one(world):
    process = await world.connected(late(40, answer(1)), answer(2))
    error, seconds = await world.refused(process.ensure())
    assert (error.outcome_unknown, error.retry_after, error.__context__) == (True, SECOND, None)
    assert DEADLINE <= seconds < DEADLINE + 1
    assert await process.stored() == ["access-0", "refresh-0"]
    await world.at(41)
    assert await process.stored() == ["access-1", "refresh-1"]
    state = await process.state()
    assert (state.lease_until, state.unknown_since, state.failures) == (None, None, 0)
    assert not process.cases.refreshing.is_running
    assert await process.ensure() == "access-1"
    assert await process.force() == "access-2"
    assert process.calls == ["refresh-0", "refresh-1"]


@in_virtual_time
async def test_a_caller_whose_token_is_valid_gets_it_at_once(world):
    process = await world.connected(late(40, answer(1)), age=56 * MINUTE)
    assert await process.ensure() == "access-0"
    assert world.now() < 2
    await world.at(15)  # the flight of the first caller is over, and the exchange is not
    assert await process.ensure() == "access-0"
    assert world.now() < 16
    await world.at(41)
    assert await process.ensure() == "access-1"


@in_virtual_time
async def test_the_holder_renews_its_lease_so_that_no_other_process_presents_the_credential(world):
    process = await world.connected(late(65, answer(1)))
    other = world.process(answer(9))
    await world.refused(process.ensure())
    for seconds in (15, 22, 30, 45, 60):
        await world.at(seconds)
        state = await other.state()
        assert state.leased_until(world.clock.now()) is not None
        assert (await other.sweep()).claimed == 0
        assert (await other.sweep()).claimed == 0
    await world.at(66)
    assert await other.ensure() == "access-1"
    assert other.calls == []


@in_virtual_time
async def test_a_caller_of_another_process_waits_as_long_as_the_lease_that_it_saw(world):
    process = await world.connected(late(65, answer(1)))
    other = world.process(answer(9))
    waiting = asyncio.create_task(world.refused(other.ensure()))
    await world.refused(process.ensure())
    _, seconds = await waiting
    assert LEASE <= seconds < LEASE + 3
    await world.at(55)
    assert await other.ensure() == "access-1"
    assert other.calls == []


@in_virtual_time
async def test_later_callers_of_the_same_process_join_the_exchange(world):
    process = await world.connected(late(40, answer(1)))
    await world.refused(process.ensure())
    error, seconds = await world.refused(process.ensure())
    assert (error.outcome_unknown, seconds < LEASE + 3) == (True, True)
    await world.at(35)
    assert await asyncio.gather(process.ensure(), process.force(), process.ensure(10.0)) == ["access-1"] * 3
    assert 40 <= world.now() < 41
    assert process.calls == ["refresh-0"]


@in_virtual_time
async def test_an_exchange_without_an_answer_ends_as_an_unknown_outcome(world):
    process = await world.connected(late(1000, answer(1)))
    await world.refused(process.ensure())
    await world.at(70)
    assert (await process.state()).unknown_since is None
    assert process.cases.refreshing.is_running
    await world.at(72)
    state = await process.state()
    assert (state.lease_until, state.failures) == (None, 1)
    assert state.unknown_since == world.clock.now() - timedelta(seconds=72 - 70.5)
    assert not process.cases.refreshing.is_running


@in_virtual_time
async def test_a_late_rejection_marks_the_credential(world):
    process = await world.connected(late(40, ReauthorizationRequiredError(reason="invalid_grant")))
    await world.refused(process.ensure())
    await world.at(41)
    record = (await world.store.accounts.read(ACCOUNT)).record
    assert record.tokens[TokenKind.REFRESH_TOKEN].error_code == "invalid_grant"
    with pytest.raises(ReauthorizationRequiredError):
        await process.ensure()


@in_virtual_time
async def test_a_late_failure_is_recorded_as_one_in_time_is(world):
    process = await world.connected(late(40, RefreshFailedError(reason="server_error")))
    await world.refused(process.ensure())
    await world.at(41)
    state = await process.state()
    assert (state.failures, state.unknown_since, state.error_code) == (1, None, "server_error")


@in_virtual_time
async def test_a_database_that_takes_no_renewal_ends_no_exchange(world):
    process = await world.connected(late(40, answer(1)))
    failing = Failing(world.store.refreshes, "renew", StorageError("away", retryable=True))
    await world.refused(process.over(store=evolve(world.store, refreshes=failing)).ensure())
    await world.at(41)
    assert failing.left == 10**9 - 5
    assert await process.stored() == ["access-1", "refresh-1"]


@in_virtual_time
async def test_a_process_does_not_take_its_own_open_exchange_for_over(world):
    process = await world.connected(late(40, answer(1)), answer(2), rotation=Rotation.grace(600))
    failing = Failing(world.store.refreshes, "renew", StorageError("away", retryable=True))
    process = process.over(store=evolve(world.store, refreshes=failing))
    await world.refused(process.ensure())
    await world.at(30)  # the lease ran out, and nobody renewed it
    assert await process.ensure() == "access-1"
    assert process.calls == ["refresh-0"]


@in_virtual_time
async def test_a_late_answer_does_not_overwrite_that_of_an_attempt_that_took_over(world):
    process = await world.connected(late(40, answer(1)), rotation=Rotation.grace(600))
    other = world.process(answer(9), rotation=Rotation.grace(600))
    failing = Failing(world.store.refreshes, "renew", StorageError("away", retryable=True))
    await world.refused(process.over(store=evolve(world.store, refreshes=failing)).ensure())
    await world.at(25)
    assert await other.ensure() == "access-9"
    await world.at(41)
    assert await other.stored() == ["access-9", "refresh-9"]
    assert (await other.state()).lease_until is None


@in_virtual_time
async def test_closing_waits_for_an_exchange_as_long_as_for_a_young_one_and_then_leaves_it(world):
    process = await world.connected(late(1000, answer(1)))
    await world.refused(process.ensure())
    process.cases.refreshing.stop()
    closing = world.now()
    await process.cases.tasks.drain(10, longest=LEASE, is_needed=lambda: process.cases.refreshing.is_running)
    assert LEASE <= world.now() - closing < LEASE + 1
    other = world.process(answer(9))
    await asyncio.sleep(LEASE)
    error, _ = await world.refused(other.ensure())
    assert error.retry_after > TIMING.quiescence - LEASE * SECOND  # the lease ran out: an unknown outcome
    await asyncio.sleep(error.retry_after.total_seconds())
    assert await other.ensure() == "access-9"


@in_virtual_time
async def test_closing_keeps_an_answer_that_comes_meanwhile(world):
    process = await world.connected(late(25, answer(1)))
    await world.refused(process.ensure())
    process.cases.refreshing.stop()
    await process.cases.tasks.drain(10, longest=LEASE, is_needed=lambda: process.cases.refreshing.is_running)
    assert world.now() < 26
    assert await process.stored() == ["access-1", "refresh-1"]


@in_virtual_time
async def test_without_an_answer_deadline_the_exchange_ends_with_the_patience_of_its_callers(world):
    timing = evolve(TIMING, answer_deadline=timedelta(0))
    process = await world.connected(late(40, answer(1)), timing=timing)
    _, seconds = await world.refused(process.ensure())
    assert DEADLINE <= seconds < DEADLINE + 1
    assert (await process.state()).unknown_since is not None


@in_virtual_time
async def test_an_account_with_an_open_exchange_is_shown_as_it_was(world):
    process = await world.connected(late(40, answer(1)), age=56 * MINUTE)
    await process.ensure()
    await world.at(30)
    record = (await world.store.accounts.read(ACCOUNT)).record
    info = describe_account(record, world.clock.now(), TokenKind.REFRESH_TOKEN)
    assert info.state is ConnectionState.CONNECTED


UNKNOWN = RefreshFailedError(outcome_unknown=True)


@in_virtual_time
async def test_within_a_grace_period_the_holder_repeats_a_request_at_once(world):
    process = await world.connected(UNKNOWN, UNKNOWN, answer(1), rotation=Rotation.grace(30))
    assert await process.ensure() == "access-1"
    assert world.now() < 2
    assert process.calls == ["refresh-0"] * 3
    assert (await process.state()).failures == 0


@in_virtual_time
async def test_the_holder_repeats_twice_at_most_and_others_while_the_period_is_open(world):
    process = await world.connected(*[UNKNOWN] * 4, answer(1), rotation=Rotation.grace(30))
    error, _ = await world.refused(process.ensure())
    assert len(process.calls) == 3
    assert (await process.state()).failures == 1
    await asyncio.sleep(error.retry_after.total_seconds())
    assert await process.ensure() == "access-1"
    assert len(process.calls) == 5


@in_virtual_time
async def test_an_exchange_that_hangs_is_closed_and_repeated_before_the_grace_period_ends(world):
    running = []

    async def hang(request):
        running.append(request)
        try:
            await asyncio.sleep(1000)
        finally:
            running.remove(request)

    async def answer_late(request):
        assert not running
        await asyncio.sleep(40)
        return answer(1)

    process = await world.connected(hang, answer_late, rotation=Rotation.grace(30))
    await world.refused(process.ensure())
    await world.at(18)
    assert len(process.calls) == 1
    await world.at(20)
    assert len(process.calls) == 2
    await world.at(60)
    assert await process.stored() == ["access-1", "refresh-1"]


@in_virtual_time
async def test_nothing_is_repeated_after_the_grace_period(world):
    process = await world.connected(late(26, UNKNOWN), answer(1), rotation=Rotation.grace(20))
    await world.refused(process.ensure())
    await world.at(40)
    assert len(process.calls) == 1
    assert (await process.state()).unknown_since is not None


@in_virtual_time
async def test_the_grace_period_counts_from_the_first_request_of_earlier_attempts(world):
    process = await world.connected(*[UNKNOWN] * 6, late(9, UNKNOWN), answer(1), rotation=Rotation.grace(30))
    await world.refused(process.ensure())
    await world.at(15)
    await world.refused(process.ensure())
    await world.at(19)
    await world.refused(process.ensure())
    assert len(process.calls) == 7  # the last one ended 28 s after the first; another would not fit into the 30 s


@in_virtual_time
async def test_a_holder_that_cannot_confirm_its_lease_repeats_nothing(world):
    process = await world.connected(UNKNOWN, answer(1), rotation=Rotation.grace(30))
    failing = Failing(world.store.refreshes, "renew", StorageError("away", retryable=True))
    await world.refused(process.over(store=evolve(world.store, refreshes=failing)).ensure())
    assert len(process.calls) == 1


@in_virtual_time
async def test_a_vault_that_closes_repeats_nothing(world):
    process = await world.connected(late(1, UNKNOWN), answer(1), rotation=Rotation.grace(30))
    call = asyncio.create_task(world.refused(process.ensure()))
    await world.at(0.5)
    process.cases.refreshing.stop()
    await call
    assert len(process.calls) == 1


@in_virtual_time
async def test_a_failure_whose_outcome_is_known_is_not_repeated(world):
    process = await world.connected(RefreshFailedError(), answer(1), rotation=Rotation.grace(30))
    await world.refused(process.ensure())
    assert len(process.calls) == 1


@in_virtual_time
async def test_a_strict_provider_is_asked_once(world):
    process = await world.connected(UNKNOWN, answer(1))
    await world.refused(process.ensure())
    assert len(process.calls) == 1


@in_virtual_time
async def test_a_provider_that_does_not_rotate_is_asked_again_after_the_lease_though_an_exchange_hangs(world):
    process = await world.connected(late(60, answer(1)), answer(2), rotation=Rotation.non_rotating())
    await world.refused(process.ensure())
    assert await process.ensure() == "access-2"
    assert LEASE - 1 < world.now() < LEASE + 2
    await world.at(61)
    assert await process.stored() == ["access-2", "refresh-2"]
    assert not process.cases.refreshing.is_running
