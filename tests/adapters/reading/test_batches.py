"""Reads that begin at the same moment share a query. Many reads are split into two queries; a caller waits for one."""

import asyncio
import time
from contextlib import asynccontextmanager, nullcontext

import pytest

from vault_adapters.stores.batching import ReadBatcher
from vault_domain.entities.errors import StorageError


class Database:
    """Answers a batch only when a test says so, and knows the batches that wait for an answer."""

    def __init__(self):
        self.asked = []

    async def read(self, keys):
        answer = asyncio.get_running_loop().create_future()
        self.asked.append((list(keys), answer))
        await answer
        return [f"value of {key}" for key in keys]

    @property
    def sizes(self):
        return [len(keys) for keys, answer in self.asked if not answer.done()]

    def answer(self, at):
        waiting = [answer for _, answer in self.asked if not answer.done()]
        waiting[at].set_result(None)


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def database():
    return Database()


def batcher(database, **limits):
    return ReadBatcher(lambda: nullcontext(database.read), **{"most_batches": 4} | limits)


async def reads_of(reads, count, *, first=0):
    tasks = [asyncio.ensure_future(reads.get(key)) for key in range(first, first + count)]
    await settle()
    return tasks


async def end(database, *groups):
    while database.sizes:
        database.answer(0)
        await settle()
    for tasks in groups:
        await asyncio.gather(*tasks)


async def test_many_reads_go_as_two_batches_at_the_same_time(database):
    tasks = await reads_of(batcher(database), 64)
    assert database.sizes == [32, 32]
    await end(database, tasks)


async def test_callers_of_one_half_get_their_answers_while_the_database_works_on_the_other(database):
    tasks = await reads_of(batcher(database), 64)
    database.answer(0)
    await settle()
    assert [task.done() for task in tasks] == [True] * 32 + [False] * 32
    assert tasks[3].result() == "value of 3"
    await end(database, tasks)


async def test_few_reads_go_as_one_batch(database):
    tasks = await reads_of(batcher(database), 8)
    assert database.sizes == [8]
    await end(database, tasks)


async def test_reads_are_not_divided_further_while_a_batch_is_running(database):
    reads = batcher(database)
    first = await reads_of(reads, 64)
    second = await reads_of(reads, 64, first=64)
    assert database.sizes == [32, 32, 64]
    await end(database, first, second)


async def test_the_callers_of_one_half_stay_together_when_they_ask_again(database):
    reads = batcher(database)

    async def caller(key):
        await reads.get(key)
        await reads.get(key)

    tasks = [asyncio.create_task(caller(key)) for key in range(64)]
    await settle()
    database.answer(0)
    await settle()
    assert database.sizes == [32, 32]
    await end(database, tasks)


async def test_reads_are_not_divided_if_only_one_batch_may_run(database):
    tasks = await reads_of(batcher(database, most_batches=1), 64)
    assert database.sizes == [64]
    await end(database, tasks)


async def test_a_batch_is_never_larger_than_allowed(database):
    tasks = await reads_of(batcher(database, most_keys=20), 64)
    assert database.sizes == [20, 20, 20, 4]
    await end(database, tasks)


async def test_reads_behind_a_batch_that_hangs_wait_no_longer_than_their_patience(database):
    """Those of the batch fail, too, though its query goes on; a read that begins later has its own time."""
    reads = batcher(database, most_batches=1, patience=0.2)
    loop = asyncio.get_running_loop()
    began = loop.time()
    hanging = await reads_of(reads, 1)
    await asyncio.sleep(0.05)
    behind = await reads_of(reads, 1, first=1)
    for tasks in (hanging, behind):
        with pytest.raises(StorageError) as caught:
            await tasks[0]
        assert (caught.value.reason, caught.value.retryable) == ("timeout", True)
    assert 0.2 <= loop.time() - began < 0.4
    late = await reads_of(reads, 1, first=2)
    await end(database, late)
    assert late[0].result() == "value of 2"
    await asyncio.sleep(0.05)
    assert not reads._ticks.is_running


async def test_a_read_that_is_answered_in_time_gets_its_value(database):
    reads = batcher(database, patience=0.2)
    tasks = await reads_of(reads, 3)
    await asyncio.sleep(0.15)
    await end(database, tasks)
    assert [task.result() for task in tasks] == ["value of 0", "value of 1", "value of 2"]


async def test_all_reads_fail_if_the_database_gives_too_few_values():
    async def read(keys):
        return [f"value of {key}" for key in keys[1:]]

    reads = ReadBatcher(lambda: nullcontext(read))
    async with asyncio.timeout(1):
        got = await asyncio.gather(*(reads.get(key) for key in range(3)), return_exceptions=True)
        assert isinstance(got[2], StorageError)
        assert isinstance((await asyncio.gather(reads.get(7), return_exceptions=True))[0], StorageError)


async def test_reads_go_on_after_a_batch_whose_task_was_cancelled_in_its_pause_and_whose_session_failed(database):
    @asynccontextmanager
    async def session():
        try:
            yield database.read
        finally:
            raise OSError

    reads = ReadBatcher(session)
    first = await reads_of(reads, 1)
    [task] = reads._batches._running
    first[0].add_done_callback(lambda _: task.cancel())
    database.answer(0)
    assert await first[0] == "value of 0"
    await settle()
    async with asyncio.timeout(1):
        assert isinstance(task.exception(), OSError)
        second = await reads_of(reads, 1, first=1)
        await end(database, second)


async def test_reads_without_a_limit_need_no_timer(database, monkeypatch):
    timers = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_at", lambda *timer: timers.append(timer))
    await end(database, await reads_of(batcher(database), 3))
    assert timers == []


async def test_reads_wait_as_long_as_this_process_is_busy_while_the_database_answers():
    """Each batch is answered at once, but this process needs much longer for all of them than a read may take."""

    async def read(keys):
        await asyncio.sleep(0)
        time.sleep(0.05)  # noqa: ASYNC251 - the work of the callers that got their values
        return [f"value of {key}" for key in keys]

    reads = ReadBatcher(lambda: nullcontext(read), most_keys=1, most_batches=2, patience=0.2)
    async with asyncio.timeout(30):
        began = time.monotonic()
        values = await asyncio.gather(*(reads.get(key) for key in range(30)))
    assert time.monotonic() - began > 5 * 0.2
    assert values == [f"value of {key}" for key in range(30)]


async def test_a_read_whose_answer_comes_while_the_event_loop_lags_gets_its_value():
    """The answer is read in the ninth round of the event loop, and each round takes half of the limit."""

    async def read(keys):
        for _ in range(9):
            await asyncio.sleep(0)
            time.sleep(0.1)  # noqa: ASYNC251 - the work of other callers
        return [f"value of {key}" for key in keys]

    reads = ReadBatcher(lambda: nullcontext(read), patience=0.2)
    async with asyncio.timeout(30):
        assert await reads.get(1) == "value of 1"
