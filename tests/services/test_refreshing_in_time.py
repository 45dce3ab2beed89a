"""How long a caller waits: at most its timeout, and a second at most while its token is still valid."""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta

import pytest
from attrs import evolve
from tests.services.conftest import ACCOUNT, answer
from tests.services.fakes import Obstructed

from vault_adapters import Account, RefreshFailedError, StorageError
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_adapters.testing import ScriptedRefresher

MINUTE = timedelta(minutes=1)
SOON = 20.0
"""Seconds; much longer than a correct call takes, so that only a call that hangs reaches it."""


class Hanging(Obstructed):
    """A repository with one method whose calls, after the first ``after`` ones, end only when ``open`` is set."""

    def __init__(self, right, method, after=0):
        super().__init__(right, method)
        self.after, self.open = after, asyncio.Event()

    async def obstruct(self):
        self.after -= 1
        while self.after < 0 and not self.open.is_set():
            with suppress(asyncio.CancelledError):  # a driver may wait for its server even while it is cancelled
                await self.open.wait()


@pytest.fixture
async def cases(cases):
    """Give the use cases on the real event loop; what still runs at the end is cancelled."""
    tasks = AsyncioTasks()
    yield cases.over(tasks=tasks, refreshers={"google": ScriptedRefresher(answer(1))})
    await tasks.drain(10)


async def ensure(cases, timeout=None, account=ACCOUNT):
    async with asyncio.timeout(SOON):
        return (await cases.refreshing.ensure(account, timeout, actor=None)).value.reveal()


def hanging(cases, part, method, after=0):
    """Return the use cases with one method of the store that hangs, and the event that lets it go on."""
    gate = Hanging(getattr(cases.store, part), method, after)
    return cases.over(store=evolve(cases.store, **{part: gate})), gate.open


def with_slow_provider(cases):
    done = asyncio.Event()

    async def slow(request):
        await done.wait()
        return answer(1)

    return cases.over(refreshers={"google": ScriptedRefresher(slow)}), done


FAULTS = {
    "the read for the decision hangs": lambda cases: hanging(cases, "refreshes", "read"),
    "the claim hangs": lambda cases: hanging(cases, "refreshes", "claim"),
    "the read under the lease hangs": lambda cases: hanging(cases, "refreshes", "read", after=1),
    "the commit hangs": lambda cases: hanging(cases, "refreshes", "commit"),
    "the provider hangs": with_slow_provider,
}


async def test_a_valid_token_is_returned_soon_and_the_refresh_goes_on(cases):
    async def check(fault):
        account = Account("t1", "google", fault)
        faulty, go_on = FAULTS[fault](cases.over(refreshers={"google": ScriptedRefresher(answer(1))}))
        started = time.monotonic()
        assert await ensure(faulty, account=account) == "access-0"
        assert time.monotonic() - started > 0.5
        go_on.set()
        while await ensure(faulty, account=account) == "access-0":  # noqa: ASYNC110 - ensure does not await the refresh
            await asyncio.sleep(0.01)

    for fault in FAULTS:
        await cases.connect(Account("t1", "google", fault))
    cases.clock.advance(56 * MINUTE)
    await asyncio.gather(*map(check, FAULTS))


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_timeout_ends_the_wait_for_an_expired_token(cases, fault):
    await cases.connect()
    cases.clock.advance(60 * MINUTE)
    faulty, go_on = FAULTS[fault](cases)
    with pytest.raises(RefreshFailedError) as caught:
        await ensure(faulty, 0.05)
    assert (caught.value.retry_after, caught.value.__context__) == (timedelta(seconds=1), None)
    go_on.set()
    assert await ensure(faulty) == "access-1"


@pytest.mark.parametrize("after", [0, 1])
async def test_a_timeout_covers_the_first_read_and_the_last(cases, after):
    await cases.connect()
    cases.clock.advance(60 * MINUTE)
    slow, done = with_slow_provider(cases)
    faulty, go_on = hanging(slow, "accounts", "get", after)
    started = time.monotonic()
    with pytest.raises(RefreshFailedError) as caught:
        await ensure(faulty, 0.05)
    assert time.monotonic() - started < SOON
    assert caught.value.__context__ is None
    go_on.set()
    done.set()


async def test_a_timeout_of_zero_returns_the_stored_token(cases):
    await cases.connect()
    assert await ensure(cases, 0) == "access-0"
    cases.clock.advance(56 * MINUTE)
    slow, done = with_slow_provider(cases)
    assert await ensure(slow, 0) == "access-0"
    done.set()


async def test_a_last_read_finds_what_another_process_has_stored(cases):
    await cases.connect()
    cases.clock.advance(60 * MINUTE)
    slow, done = with_slow_provider(cases)
    caller = asyncio.create_task(ensure(slow, 0.4))
    await asyncio.sleep(0.1)
    await cases.connect(number=7)
    assert await caller == "access-7"
    done.set()


async def test_a_token_that_expires_during_the_wait_is_not_returned(cases):
    await cases.connect()
    cases.clock.advance(60 * MINUTE - timedelta(seconds=0.5))
    slow, done = with_slow_provider(cases)
    caller = asyncio.create_task(ensure(slow))
    await asyncio.sleep(1.1)
    assert not caller.done()
    done.set()
    assert await caller == "access-1"


async def test_a_database_that_fails_before_the_claim_leaves_the_valid_token(cases):
    class Failing:
        async def read(self, account):
            raise StorageError("away", retryable=True)

    await cases.connect()
    cases.clock.advance(56 * MINUTE)
    assert await ensure(cases.over(store=evolve(cases.store, refreshes=Failing()))) == "access-0"


@pytest.mark.parametrize("age", [56, 60])
async def test_two_thousand_callers_of_one_account_are_one_request(cases, age):
    await cases.connect()
    cases.clock.advance(age * MINUTE)
    values = await asyncio.gather(*(ensure(cases, timeout) for timeout in (None, 30.0) for _ in range(1000)))
    assert set(values) <= {"access-0", "access-1"}
    assert age < 60 or set(values) == {"access-1"}
    assert len(cases.refreshers["google"].calls) == 1
