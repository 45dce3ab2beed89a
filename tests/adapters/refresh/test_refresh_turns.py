"""Turns on the event loop: a turn comes back whatever becomes of its call."""

import asyncio
from contextlib import suppress

import pytest

from vault_adapters.runtime.turns import Turns
from vault_domain.rules.shares import next_member


class Calls:
    """Named calls that run until the test ends them. The first letter of a call's name is its member (a tenant)."""

    def __init__(self, most):
        self.turns, self.began, self.ends, self.tasks = Turns(most, next_member), [], {}, {}

    async def start(self, *names):
        for name in names:
            self.tasks[name] = asyncio.create_task(self.turns.run(name[0], lambda name=name: self._work(name)))
            await asyncio.sleep(0)

    async def _work(self, name):
        self.began.append(name)
        self.ends[name] = asyncio.get_running_loop().create_future()
        return await self.ends[name]

    async def end(self, name, error=None):
        if error is None:
            self.ends[name].set_result(name)
        else:
            self.ends[name].set_exception(error)
        with suppress(ZeroDivisionError):
            assert await self.tasks[name] == name
        await asyncio.sleep(0)


async def test_a_free_turn_needs_no_step_of_the_event_loop():
    async def work():
        return 1

    running = Turns(1, next_member).run("a", work)
    with pytest.raises(StopIteration) as ended:
        running.send(None)
    assert ended.value.value == 1


@pytest.mark.parametrize("error", [None, ZeroDivisionError()])
async def test_the_end_of_a_call_gives_its_turn_to_the_next(error):
    calls = Calls(1)
    await calls.start("a1", "b1", "a2")
    for name in ("a1", "b1", "a2"):
        assert calls.began[-1] == name
        await calls.end(name, error)
    await calls.start("c1")
    assert calls.began[-1] == "c1"
    await calls.end("c1")


async def test_a_call_that_is_cancelled_while_it_waits_leaves_the_queue():
    calls = Calls(1)
    await calls.start("a1", "b1", "c1", "c2")
    for name in ("b1", "c1"):
        calls.tasks[name].cancel()
    await asyncio.sleep(0)
    await calls.end("a1")
    assert calls.began == ["a1", "c2"]
    await calls.end("c2")
    await calls.start("a3")
    assert calls.began[-1] == "a3"
    await calls.end("a3")


async def test_a_call_that_is_cancelled_as_a_turn_becomes_free_is_passed_over():
    calls = Calls(1)
    await calls.start("a1", "b1", "c1")
    calls.ends["a1"].set_result("a1")
    await asyncio.sleep(0)
    calls.tasks["b1"].cancel()
    await asyncio.gather(*[calls.tasks[name] for name in ("a1", "b1")], return_exceptions=True)
    await asyncio.sleep(0)
    assert calls.began == ["a1", "c1"]
    await calls.end("c1")


async def test_a_call_that_is_cancelled_before_a_turn_becomes_free_is_passed_over():
    calls = Calls(1)
    await calls.start("a1", "b1", "c1")
    calls.ends["a1"].set_result("a1")
    calls.tasks["b1"].cancel()  # `a1` runs first, and finds `b1` still in the queue
    await asyncio.gather(*[calls.tasks[name] for name in ("a1", "b1")], return_exceptions=True)
    await asyncio.sleep(0)
    assert calls.began == ["a1", "c1"]
    await calls.end("c1")
    await calls.start("b2")
    assert calls.began[-1] == "b2"
    await calls.end("b2")


async def test_a_cancelled_call_does_not_cost_its_member_the_place():
    calls = Calls(1)
    await calls.start("a1", "b1", "b2", "c1")
    calls.tasks["b1"].cancel()
    await calls.end("a1")
    assert calls.began == ["a1", "b2"]
    for name in ("b2", "c1"):
        await calls.end(name)
