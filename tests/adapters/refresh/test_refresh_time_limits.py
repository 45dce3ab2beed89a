"""A lease is renewed while work runs under it. If the lease may be over, work whose request has not left is ended."""

import asyncio
import time

import pytest

from vault_adapters.runtime.tasks import AsyncioTasks
from vault_adapters.runtime.time_limit import Beat, TimeLimit

PACE = 0.2


@pytest.fixture
async def tasks():
    tasks = AsyncioTasks()
    yield tasks
    await tasks.drain(10)


class Renewals:
    def __init__(self, error=None, hang=False):
        self.count, self.error, self.hang, self.open = 0, error, hang, asyncio.Event()

    async def __call__(self):
        self.count += 1
        if self.hang:
            await self.open.wait()
        if self.error is not None:
            raise self.error


def block():
    """Block the event loop for two paces, as a stop of the process does."""
    time.sleep(2.5 * PACE)


async def result_of(work, seconds=30.0, renew=None, tasks=None):
    return await tasks.within_lease(seconds, work, pace=PACE, renew=renew or Renewals())


async def test_the_lease_is_renewed_until_the_work_ends(tasks):
    renew = Renewals()

    async def work():
        while renew.count < 3:  # noqa: ASYNC110 - no event tells of a renewal
            await asyncio.sleep(0.01)
        return "done"

    assert await result_of(work, renew=renew, tasks=tasks) == "done"
    await asyncio.sleep(2 * PACE)
    assert renew.count == 3


@pytest.mark.parametrize("renew", [{"hang": True}, {"error": RuntimeError("x")}], ids=["hangs", "fails"])
async def test_a_renewal_that_hangs_or_fails_does_not_hold_up_the_work(tasks, renew):
    renew = Renewals(**renew)

    async def work():
        await asyncio.sleep(2.5 * PACE)
        return "done"

    async with asyncio.timeout(20):
        assert await result_of(work, renew=renew, tasks=tasks) == "done"
    assert renew.count == (1 if renew.hang else 2)
    renew.open.set()


async def test_work_ends_at_its_limit(tasks):
    with pytest.raises(TimeoutError):
        await result_of(lambda: asyncio.sleep(60), seconds=1.5 * PACE, tasks=tasks)


@pytest.mark.parametrize("has_left", [True, False])
async def test_after_a_stop_only_an_exchange_whose_request_has_left_goes_on(tasks, has_left):
    sent = []

    async def work():
        async with TimeLimit(60, lambda: has_left):
            asyncio.get_running_loop().call_soon(block)
            await asyncio.sleep(3 * PACE)
            sent.append("after the stop")
        return "done"

    if has_left:
        assert await result_of(work, tasks=tasks) == "done"
    else:
        with pytest.raises(TimeoutError):
            await result_of(work, tasks=tasks)
        assert sent == []


async def test_a_beat_ends_its_block_when_it_says_so():
    beats = []

    def goes_on(late):
        beats.append(late)
        return len(beats) < 3

    with pytest.raises(TimeoutError):
        async with TimeLimit(60, beat=Beat(0.01, goes_on)):
            await asyncio.sleep(60)
    assert len(beats) == 3
    assert min(beats) >= 0
