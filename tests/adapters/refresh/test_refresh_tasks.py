"""Flights and jobs on the event loop."""

import asyncio

import pytest

from vault_adapters import Account, RefreshFailedError, Secret
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_domain.entities.errors import DecryptionError, VaultError


def all_errors(cls=VaultError):
    return [cls, *(each for sub in cls.__subclasses__() for each in all_errors(sub))]


async def test_every_error_reaches_each_caller_as_its_own():
    tasks, account = AsyncioTasks(), Account("t1", "acme")
    made = [
        cls(account=account) if issubclass(cls, DecryptionError) else cls(account=account, reason="a")
        for cls in all_errors()
    ]
    made.append(RefreshFailedError(account=account, reason="x", outcome_unknown=True, refresh_token=Secret("r")))
    for error in made:

        async def work(error=error):
            await asyncio.sleep(0)
            raise error

        raised = await asyncio.gather(tasks.share("a", work), tasks.share("a", work), return_exceptions=True)
        assert raised[0] is not raised[1]
        assert error not in raised
        for copied in raised:
            assert type(copied) is type(error)
            assert vars(copied) == vars(error)
            assert (str(copied), copied.__context__) == (str(error), None)
        assert not tasks.is_flying("a")


async def test_a_failed_flight_does_not_stay():
    tasks = AsyncioTasks()
    for number in range(3):

        async def work(number=number):
            if number < 2:
                raise RefreshFailedError
            return number

        if number < 2:
            with pytest.raises(RefreshFailedError):
                await tasks.share("a", work)
        else:
            assert await tasks.share("a", work) == 2


async def test_a_timeout_leaves_the_work_alone():
    tasks, done = AsyncioTasks(), asyncio.Event()

    async def work():
        await done.wait()
        return 7

    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError):
            await tasks.share("a", work, timeout)
        assert tasks.is_flying("a")
    done.set()
    assert await tasks.share("a", work) == 7


@pytest.mark.parametrize("fault", [ZeroDivisionError, asyncio.CancelledError])
async def test_jobs_do_not_fall_with_one_another(fault):
    tasks, ended = AsyncioTasks(), []

    async def fail():
        await asyncio.sleep(0)
        raise fault

    async def work():
        await asyncio.sleep(0.02)
        ended.append(1)

    with pytest.raises(fault):
        await tasks.run_all([("a", work), ("a", fail), ("b", work), ("a", work)], 2)
    assert len(ended) == 3


async def test_jobs_go_on_without_their_caller_and_are_waited_for():
    tasks, ended = AsyncioTasks(), []

    async def work():
        await asyncio.sleep(0.05)
        ended.append(1)

    caller = asyncio.create_task(tasks.run_all([("a", work)] * 4, 2))
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert ended == []
    await tasks.drain(10)
    assert len(ended) == 4


async def test_what_is_prepared_ahead_ends_with_its_caller_and_the_work_goes_on():
    tasks, ended = AsyncioTasks(), []

    async def work():
        await asyncio.sleep(0.05)
        ended.append("work")

    async def ahead():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ahead")

    caller = asyncio.create_task(tasks.run_beside(work, ahead))
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert ended == ["ahead"]
    await tasks.drain(10)
    assert ended == ["ahead", "work"]


async def test_nothing_is_prepared_for_work_that_failed():
    async def fail():
        raise ZeroDivisionError

    async with asyncio.timeout(10):
        with pytest.raises(ZeroDivisionError):
            await AsyncioTasks().run_beside(fail, asyncio.Event().wait)


async def test_what_could_not_be_prepared_is_told_when_the_work_has_ended():
    ended = []

    async def work():
        await asyncio.sleep(0.02)
        ended.append(1)

    async def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await AsyncioTasks().run_beside(work, fail)
    assert ended == [1]


async def test_draining_ends_even_while_the_host_is_cancelled():
    import anyio

    tasks, ended = AsyncioTasks(), []

    async def work():
        await asyncio.sleep(0.05)
        ended.append(1)

    async def wait_then_note():
        await tasks.share("a", work)

    asyncio.get_running_loop().create_task(wait_then_note())
    await asyncio.sleep(0.01)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await tasks.drain(10)
    assert ended == [1]


async def test_draining_cuts_off_what_does_not_end():
    tasks = AsyncioTasks()
    call = asyncio.create_task(tasks.share("a", lambda: asyncio.sleep(3600)))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        await tasks.drain(0.05)
    [result] = await asyncio.gather(call, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError)
