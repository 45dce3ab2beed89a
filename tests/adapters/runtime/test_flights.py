"""`Flights`: callers with the same key share one call, which goes on even if they are cancelled."""

import asyncio
import gc
import traceback

import pytest

from vault_adapters.runtime.flights import Flights
from vault_domain.entities.errors import StorageError


class Call:
    """A call that ends when it is told to, and counts how often it was started."""

    def __init__(self, error=None):
        self.started = self.ended = 0
        self.gate = asyncio.Event()
        self.error = error

    async def __call__(self):
        self.started += 1
        try:
            await self.gate.wait()
        finally:
            self.ended += 1
        if self.error is not None:
            raise self.error
        return self.started


@pytest.fixture
def flights():
    return Flights()


@pytest.fixture
def call():
    return Call()


async def start(*awaitables):
    """Start a task for each caller, let the event loop run for a few turns, and return the tasks."""
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


class TestSharing:
    async def test_callers_with_the_same_key_share_one_call(self, flights, call):
        callers = await start(*(flights.share("a", call) for _ in range(10)))
        assert (call.started, flights.under_way) == (1, 1)
        call.gate.set()
        assert await asyncio.gather(*callers) == [1] * 10

    async def test_another_key_has_a_call_of_its_own(self, flights, call):
        callers = await start(flights.share("a", call), flights.share("b", call))
        call.gate.set()
        await asyncio.gather(*callers)
        assert call.started == 2

    async def test_a_key_is_free_again_once_its_call_has_ended(self, flights, call):
        [caller] = await start(flights.share("a", call))
        assert "a" in flights
        call.gate.set()
        await caller
        assert "a" not in flights
        assert flights.under_way == 0
        assert await flights.share("a", call) == 2

    @pytest.mark.parametrize("cut_off_after", [1, 3])
    async def test_a_key_is_free_again_once_its_call_was_cancelled(self, flights, call, cut_off_after):
        caller = asyncio.ensure_future(flights.share("a", call))
        for _ in range(cut_off_after):
            await asyncio.sleep(0)
        assert (call.started, flights.under_way) == (cut_off_after > 1, 1)
        await flights.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        assert "a" not in flights

    async def test_a_call_of_its_own_is_not_shared(self, flights, call):
        callers = await start(flights.run(call()), flights.run(call()))
        call.gate.set()
        assert await asyncio.gather(*callers) == [2, 2]


class TestErrors:
    async def test_each_caller_raises_its_own_copy(self, flights):
        call = Call(StorageError("away", reason="57P01", retryable=True))
        callers = await start(flights.share("a", call), flights.share("a", call))
        call.gate.set()
        first, second = await asyncio.gather(*callers, return_exceptions=True)
        assert len({id(call.error), id(first), id(second)}) == 3
        for error in (first, second):
            assert (type(error), str(error), vars(error)) == (StorageError, str(call.error), vars(call.error))
            assert error.__context__ is None
            assert traceback.extract_tb(error.__traceback__)[-1].name == "share"

    async def test_a_lone_caller_raises_the_error_itself(self, flights):
        call = Call(StorageError())
        call.gate.set()
        with pytest.raises(StorageError) as caught:
            await flights.run(call())
        assert caught.value is call.error

    @pytest.mark.parametrize("is_shared", [True, False])
    async def test_an_error_that_nobody_waits_for_is_dropped_silently(self, flights, is_shared):
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        call = Call(StorageError())
        [caller] = await start(flights.share("a", call) if is_shared else flights.run(call()))
        caller.cancel()
        await start()
        call.gate.set()
        await flights.wait()
        del caller
        gc.collect()
        await start()
        assert (call.ended, complaints) == (1, [])


class TestCancelledCallers:
    @pytest.mark.parametrize("is_shared", [True, False])
    async def test_the_call_goes_on_without_its_only_caller(self, flights, call, is_shared):
        [caller] = await start(flights.share("a", call) if is_shared else flights.run(call()))
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert (call.ended, flights.under_way) == (0, 1)
        call.gate.set()
        await flights.wait()
        assert call.ended == 1

    async def test_the_others_still_get_the_result(self, flights, call):
        first, second = await start(flights.share("a", call), flights.share("a", call))
        first.cancel()
        await start()
        call.gate.set()
        assert await second == 1

    async def test_a_later_caller_joins_the_call_that_was_left(self, flights, call):
        [first] = await start(flights.share("a", call))
        first.cancel()
        [second] = await start(flights.share("a", call))
        call.gate.set()
        assert await second == 1


class TestForgetting:
    async def test_the_next_caller_starts_a_new_call(self, flights, call):
        [before] = await start(flights.share(("a", 1), call))
        flights.forget(lambda key: key[0] == "a")
        [after] = await start(flights.share(("a", 1), call))
        assert call.started == 2
        call.gate.set()
        assert await asyncio.gather(before, after) == [2, 2]

    async def test_other_keys_stay(self, flights, call):
        await start(flights.share("a", call), flights.share("b", call))
        flights.forget(lambda key: key == "a")
        assert ("a" in flights, "b" in flights) == (False, True)
        await flights.cancel()

    async def test_the_end_of_a_forgotten_call_leaves_its_successor_alone(self, flights):
        old, new = Call(), Call()
        [before] = await start(flights.share("a", old))
        flights.forget(lambda key: True)
        [after] = await start(flights.share("a", new))
        old.gate.set()
        await before
        await start()
        assert "a" in flights
        new.gate.set()
        await after

    async def test_a_call_can_tell_that_it_was_forgotten(self, flights):
        answers, gate = [], asyncio.Event()

        async def ask():
            answers.append(flights.is_current("a"))
            await gate.wait()
            answers.append(flights.is_current("a"))

        [caller] = await start(flights.share("a", ask))
        assert not flights.is_current("a")  # asked outside of any call
        flights.forget(lambda key: True)
        gate.set()
        await caller
        assert answers == [True, False]


class TestEnding:
    async def test_waiting_lasts_until_all_have_ended(self, flights):
        calls = [Call(), Call(), Call()]
        await start(flights.share("a", calls[0]), flights.run(calls[1]()))
        flights.start(calls[2]())
        flights.forget(lambda key: True)
        [waiting] = await start(flights.wait())
        for call in calls:
            assert not waiting.done()
            call.gate.set()
            await start()
        await waiting

    async def test_waiting_includes_what_starts_meanwhile(self, flights, call):
        successor = Call()

        async def go_on():
            await call()
            flights.start(successor())

        flights.start(go_on())
        [waiting] = await start(flights.wait())
        call.gate.set()
        await start()
        assert (successor.started, waiting.done()) == (1, False)
        successor.gate.set()
        await waiting

    async def test_a_cancelled_wait_leaves_the_calls_alone(self, flights, call):
        flights.start(call())
        [waiting] = await start(flights.wait())
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert flights.under_way == 1
        call.gate.set()
        await flights.wait()
        assert call.started == call.ended == 1

    async def test_cancelling_ends_all_calls_the_forgotten_included(self, flights, call):
        callers = await start(flights.share("a", call), flights.share("b", call), flights.run(call()))
        flights.forget(lambda key: key == "a")
        await flights.cancel()
        assert (call.ended, flights.under_way) == (3, 0)
        ends = await asyncio.gather(*callers, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * 3

    async def test_an_error_of_a_call_does_not_end_the_waiting(self, flights, call):
        failing = Call(StorageError())
        failing.gate.set()
        flights.start(failing())
        flights.start(call())
        [waiting] = await start(flights.wait())
        assert not waiting.done()
        call.gate.set()
        await waiting
