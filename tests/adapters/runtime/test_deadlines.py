"""Calls that share a timer each have their own limit."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from vault_adapters.runtime.deadlines import Deadlines


@pytest.fixture
def deadlines():
    return Deadlines()


async def test_a_call_that_ends_in_time_gives_its_result(deadlines):
    assert await deadlines.within(60, lambda: asyncio.sleep(0, "result")) == "result"


async def test_a_call_that_takes_too_long_is_cancelled(deadlines):
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    with pytest.raises(TimeoutError):
        await deadlines.within(0.01, work)
    assert ended
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("may_end", [True, False])
async def test_a_call_goes_on_if_its_end_would_help_nobody(deadlines, may_end):
    asked = []

    def only_if():
        asked.append(True)
        return may_end

    running = asyncio.create_task(deadlines.within(0.01, lambda: asyncio.sleep(0.1, "result"), only_if))
    if may_end:
        with pytest.raises(TimeoutError):
            await running
    else:
        assert await running == "result"
    assert asked == [True]


async def test_a_call_that_ends_in_time_does_not_ask_whether_it_may_end(deadlines):
    asked = []
    first = asyncio.create_task(deadlines.within(0.05, lambda: asyncio.sleep(0.2, "first"), lambda: asked.append(1)))
    await asyncio.sleep(0)
    second = deadlines.within(0.05, lambda: asyncio.sleep(0, "second"), lambda: asked.append(2))
    assert [await second, await first] == ["second", "first"]
    assert asked == [1]


async def test_each_call_has_its_own_end(deadlines):
    """The second call begins while the first one's timer is set, so it needs the timer once more."""
    first = asyncio.create_task(deadlines.within(0.05, lambda: asyncio.sleep(60)))
    await asyncio.sleep(0.02)
    second = asyncio.create_task(deadlines.within(0.05, lambda: asyncio.sleep(60)))
    done, _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
    assert done == {first}
    with pytest.raises(TimeoutError):
        await first
    with pytest.raises(TimeoutError):
        await second


async def test_a_short_limit_does_not_wait_for_a_long_one(deadlines):
    long = asyncio.create_task(deadlines.within(60, lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await deadlines.within(0.01, lambda: asyncio.sleep(60))
    assert not long.done()
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long


async def test_a_callers_cancellation_is_not_a_timeout(deadlines):
    task = asyncio.create_task(deadlines.within(60, lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_work_passes(deadlines):
    async def work():
        raise LookupError

    with pytest.raises(LookupError):
        await deadlines.within(60, work)


@pytest.mark.parametrize("may_end", [True, False])
async def test_a_future_whose_time_runs_out_gets_the_error(deadlines, may_end):
    future = asyncio.get_running_loop().create_future()
    limited = deadlines.limited(0.01, future, lambda about: about == "this read" and may_end, "this read")
    asyncio.get_running_loop().call_later(0.05, lambda: future.done() or future.set_result("result"))
    if may_end:
        with pytest.raises(TimeoutError):
            await limited
    else:
        assert await limited == "result"


async def test_a_future_that_is_done_in_time_keeps_its_result_and_its_place_is_freed(deadlines):
    future = asyncio.get_running_loop().create_future()
    limited = deadlines.limited(0.01, future, lambda _: True, None)
    future.set_result("result")
    assert await limited == "result"
    await asyncio.sleep(0.03)
    assert future.result() == "result"
    assert not deadlines._queues


@pytest.mark.parametrize("make", [asyncio.ensure_future, lambda call: call])
async def test_a_task_and_a_coroutine_are_cancelled_when_their_time_runs_out(deadlines, make):
    """The awaiting task is told to stop waiting; a task of somebody else gets no error that it did not raise."""
    with pytest.raises(TimeoutError):
        await deadlines.limited(0.01, make(asyncio.sleep(60)), lambda about: about == "this read", "this read")
    assert asyncio.current_task().cancelling() == 0


async def test_a_call_ends_when_its_time_has_passed_and_not_before(deadlines):
    """The second begins in the middle of the first, so its time ends later, at most by a tenth of the limit."""
    loop = asyncio.get_running_loop()
    futures, began, ended = [loop.create_future() for _ in range(2)], [], []
    for future in futures:
        began.append(loop.time())
        future.add_done_callback(lambda _: ended.append(loop.time()))
        deadlines.limited(0.2, future, lambda _: True, None)
        await asyncio.sleep(0.1)
    await asyncio.wait(futures)
    await asyncio.sleep(0)
    for first, last in zip(began, ended, strict=True):
        assert 0.19 < last - first < 0.27
    assert all(isinstance(future.exception(), TimeoutError) for future in futures)


@asynccontextmanager
async def lagging(seconds):
    """Let each round of the event loop take so many seconds."""
    is_over = False

    async def block():
        while not is_over:
            time.sleep(seconds)  # noqa: ASYNC251 - it is what a busy host does
            await asyncio.sleep(0)

    task = asyncio.create_task(block())
    yield
    is_over = True
    await task


async def test_the_delays_of_a_lagging_event_loop_do_not_add_up(deadlines):
    loop = asyncio.get_running_loop()
    async with lagging(0.03):
        began = loop.time()
        with pytest.raises(TimeoutError):
            await deadlines.limited(0.3, loop.create_future(), lambda _: True, None)
        assert loop.time() - began < 0.3 + 0.03 + 5 * 0.03


async def test_an_answer_that_came_while_the_process_was_suspended_is_read(deadlines):
    future = asyncio.get_running_loop().create_future()

    async def answer():
        time.sleep(0.5)  # noqa: ASYNC251 - the process is suspended
        for _ in range(3):
            await asyncio.sleep(0)  # rounds of the event loop that read the answer
        if not future.done():
            future.set_result("answer")

    limited = deadlines.limited(0.1, future, lambda _: True, None)
    answering = asyncio.create_task(answer())
    assert await limited == "answer"
    await answering


async def test_calls_that_ended_leave_nothing(deadlines):
    """The timer of a limit stays until it rings; its queue keeps no ended call, except behind one that still runs."""
    for _ in range(100):
        await deadlines.within(0.02, lambda: asyncio.sleep(0))
    assert [len(queue.calls) for queue in deadlines._queues.values()] == [0]
    await asyncio.sleep(0.05)
    assert not deadlines._queues


async def test_a_call_between_others_ends_too(deadlines):
    """Its place in the queue is behind a call that still runs, so the place is freed when that call ends."""
    slow = asyncio.create_task(deadlines.within(0.05, lambda: asyncio.sleep(0.03)))
    await asyncio.sleep(0)
    await deadlines.within(0.05, lambda: asyncio.sleep(0))
    assert [len(queue.calls) for queue in deadlines._queues.values()] == [2]
    await slow
    assert [len(queue.calls) for queue in deadlines._queues.values()] == [0]


async def test_an_error_of_the_question_leaves_the_other_calls_their_ends(deadlines):
    def raising(_):
        raise LookupError

    seen = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: seen.append(type(context["exception"])))
    futures = [loop.create_future() for _ in range(2)]
    deadlines.limited(0.01, futures[0], raising, None)
    await asyncio.sleep(0.005)
    deadlines.limited(0.01, futures[1], lambda _: True, None)
    with pytest.raises(TimeoutError):
        await futures[1]
    loop.set_exception_handler(None)
    assert seen == [LookupError]
