"""A process ends between the provider's answer and its commit; the next process finds the answer in the journal."""

import asyncio
import functools
import os
import signal
import sys
import threading
import time
from datetime import timedelta

import pytest
from attrs import evolve
from tests.adapters.refresh.refresh_kit import ACCOUNT, HOUR, Gate, answer, failure, make_config, store, stored
from tests.support.changes import name_of
from tests.support.processes import Call, start_processes
from tests.support.timing import refresh_times

from vault_adapters import RefreshFailedError, Tuning, open_vault
from vault_adapters.composition import open_vault_over
from vault_adapters.runtime.journal import FileJournal
from vault_adapters.runtime.periodic import repeating
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_adapters.testing import ManualClock, ScriptedRefresher

NEW = {"access_token": "access-1", "refresh_token": "refresh-1"}


class StuckStore:
    """A store whose commits of answers hang, as over a dead connection; claims still succeed."""

    def __init__(self, below, when_committing):
        self._below = below
        self.accounts = StuckAccounts(below.accounts, when_committing)

    def __getattr__(self, name):
        return getattr(self._below, name)


class StuckAccounts:
    def __init__(self, accounts, when_committing):
        self._accounts, self._when_committing = accounts, when_committing

    def __getattr__(self, name):
        return getattr(self._accounts, name)

    async def change(self, *args):
        if name_of("change", args) == "commit":
            self._when_committing()
            await asyncio.Event().wait()
        return await self._accounts.change(*args)


def slow_fsync(when_writing):
    """Let each fsync take a while; call `when_writing` in the middle of the first one."""
    fsync, told = os.fsync, []

    def slow(descriptor):
        if not told:
            told.append(1)
            when_writing()
        time.sleep(0.3)
        fsync(descriptor)

    os.fsync = slow
    return functools.partial(setattr, os, "fsync", fsync)


async def refresh_over_a_stuck_store(url, directory, when_writing, when_committing):
    """Refresh an account; the answer never reaches the database."""
    clock, path = ManualClock(), url.removeprefix("sqlite:///")
    config = make_config(url, journal_dir=directory, tuning=Tuning(close_timeout=timedelta(seconds=0.5)))
    with refresh_times(commit_budget=1):
        await _refresh_over_a_stuck_store(path, config, clock, when_writing, when_committing)


async def _refresh_over_a_stuck_store(path, config, clock, when_writing, when_committing):
    async with (
        open_sqlite_store(path, migrate=True, clock=clock.now) as below,
        open_vault_over(
            StuckStore(below, when_committing), config, refreshers={"acme": ScriptedRefresher(answer(1))}
        ) as vault,
    ):
        await store(vault)
        clock.advance(HOUR)
        restore = slow_fsync(when_writing)
        try:
            await vault.ensure_access_token(ACCOUNT)
        finally:
            restore()


def say(text):
    print(text, flush=True)


async def tell_and_refresh(url, directory):
    """Refresh over a stuck store and print each step, in a process that a test ends."""
    writing, committing = functools.partial(say, "writing"), functools.partial(say, "committing")
    await refresh_over_a_stuck_store(url, directory, writing, committing)


def recovered(config, clock):
    """Return the tokens that a new process finds after the old one has ended."""

    async def look():
        async with open_vault(config, clock=clock) as vault:
            return await stored(vault)

    return asyncio.run(look())


@pytest.fixture
def config(tmp_path):
    return make_config(f"sqlite:///{tmp_path}/vault.db", journal_dir=tmp_path / "journal")


def arguments(config):
    return [config.database_url.reveal(), str(config.journal_dir)]


def files(config):
    """Return the names of the complete entries; temporary files do not count."""
    return [path.name for path in config.journal_dir.glob("*.refresh.json")]


@pytest.mark.parametrize(
    ("step", "signals"),
    [("committing", [signal.SIGKILL]), ("committing", [signal.SIGINT] * 2), ("writing", [signal.SIGINT] * 2)],
)
def test_a_signal_loses_no_answer(config, step, signals):
    with start_processes([Call(tell_and_refresh, arguments(config))]) as group:
        group.go()
        group[0].wait_for_output(step)
        for number in signals:
            os.kill(group[0].pid, number)
            time.sleep(0.1)
        if signal.SIGKILL in signals:
            group[0].kill()
        else:
            group[0].wait(60)
    assert len(files(config)) == 1
    assert recovered(config, ManualClock()) == NEW
    assert files(config) == []


@pytest.mark.parametrize("step", ["writing", "committing"])
def test_an_exit_loses_no_answer(config, step):
    """`asyncio.run` cancels all tasks when it ends with an exit."""

    async def refresh():
        loop, left = asyncio.get_running_loop(), []

        def leave():
            raise SystemExit(3)

        def leave_once():
            if not left:
                left.append(loop.call_soon_threadsafe(leave))

        steps = {"writing": lambda: None, "committing": lambda: None, step: leave_once}
        await refresh_over_a_stuck_store(*arguments(config), steps["writing"], steps["committing"])

    with pytest.raises(SystemExit):
        asyncio.run(refresh())
    assert len(files(config)) == 1
    assert recovered(config, ManualClock()) == NEW


def leave(*_):
    sys.exit(3)


async def refresh_slowly(url, directory, how):
    """Refresh an account at a provider that takes a second, and leave the program meanwhile."""
    clock, config, tasks = ManualClock(), make_config(url, journal_dir=directory), []

    async def answer_late(request):
        loop = asyncio.get_running_loop()
        if how == "a task exits":
            tasks.append(loop.create_task(exit_in_a_task()))
        elif how == "a handler of the event loop exits":
            loop.add_signal_handler(signal.SIGTERM, leave)
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            signal.signal(signal.SIGTERM, leave)
            loop.call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
        await asyncio.sleep(1)
        return answer(1)

    async with open_vault(config, refreshers={"acme": ScriptedRefresher(answer_late)}, clock=clock) as vault:
        await store(vault)
        clock.advance(HOUR)
        await vault.ensure_access_token(ACCOUNT)


async def exit_in_a_task():
    leave()


@pytest.mark.parametrize("how", ["a task exits", "a handler of the event loop exits", "a signal handler exits"])
def test_an_exit_in_the_middle_of_a_request_loses_no_answer(config, how):
    with start_processes([Call(refresh_slowly, [*arguments(config), how])]) as group:
        group.go()
        assert group[0].wait(60).returncode == 3
    assert recovered(config, ManualClock()) == NEW


def test_the_end_of_the_event_loop_waits_only_so_long(monkeypatch):
    """The program did not close the vault, and the provider does not answer."""
    monkeypatch.setattr("vault_adapters.runtime.flights._LAST_SECONDS", 0.2)

    async def begin():
        AsyncioTasks()._flights.start(asyncio.Event().wait())
        await asyncio.sleep(0)

    began = time.monotonic()
    asyncio.run(begin())
    assert 0.1 < time.monotonic() - began < 10


@pytest.fixture(scope="module")
def entry(tmp_path_factory):
    """Give an entry that a process has left."""
    directory = tmp_path_factory.mktemp("left")

    async def leave():
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        place = [f"sqlite:///{directory}/vault.db", str(directory / "journal")]
        committing = functools.partial(loop.call_soon, ended.set)
        work = asyncio.create_task(refresh_over_a_stuck_store(*place, lambda: None, committing))
        await ended.wait()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        [found] = await FileJournal(directory / "journal").entries()
        return found

    return asyncio.run(leave())


def test_a_cancelled_write_ends_before_its_caller(config, entry):
    async def write():
        journal, writing = FileJournal(config.journal_dir), threading.Event()
        restore = slow_fsync(writing.set)
        try:
            task = asyncio.create_task(journal.write(entry))
            await asyncio.to_thread(writing.wait)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        finally:
            restore()
        assert task.cancelled()
        assert len(files(config)) == 1

    asyncio.run(write())


def test_a_write_does_not_wait_for_the_pool_of_threads(config, entry):
    """The host's own work, or lookups of host names that hang, may occupy all threads of the event loop."""

    async def write():
        free = threading.Event()
        loop = asyncio.get_running_loop()
        blocked = [loop.run_in_executor(None, free.wait) for _ in range(64)]
        try:
            async with asyncio.timeout(30):
                await FileJournal(config.journal_dir).write(entry)
        finally:
            free.set()
            await asyncio.gather(*blocked)
        assert len(files(config)) == 1

    asyncio.run(write())


def test_where_no_thread_can_be_started_the_write_is_done_at_once(config, entry, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    asyncio.run(FileJournal(config.journal_dir).write(entry))
    assert len(files(config)) == 1


async def test_a_closing_vault_tells_its_waiting_callers_and_sends_nothing(config, clock):
    gate, refresher = Gate(answer(1)), ScriptedRefresher(answer(2))
    async with open_vault(config, refreshers={"acme": ScriptedRefresher(gate)}, clock=clock) as holder:
        await store(holder)
        clock.advance(HOUR)
        holding = asyncio.create_task(holder.ensure_access_token(ACCOUNT))
        await gate.reached.wait()
        async with open_vault(config, refreshers={"acme": refresher}, clock=clock) as closing:
            waiting = asyncio.create_task(failure(closing.ensure_access_token(ACCOUNT)))
            await asyncio.sleep(0.1)
        # The lease ends by the manual clock, which nobody advances here, so only the closing can end the wait.
        async with asyncio.timeout(30):
            error = await waiting
        assert (type(error), "closing" in str(error)) == (RefreshFailedError, True)
        gate.open.set()
        assert (await holding).value.reveal() == "access-1"
    assert refresher.calls == []


async def test_closing_waits_for_a_running_request_beyond_its_own_limit(config, clock):
    gate, limit = Gate(answer(1)), timedelta(seconds=0.1)
    async with open_vault(evolve(config, tuning=Tuning(close_timeout=limit)), clock=clock) as vault:
        await store(vault)
        clock.advance(HOUR)
    async with open_vault(
        evolve(config, tuning=Tuning(close_timeout=limit)), refreshers={"acme": ScriptedRefresher(gate)}, clock=clock
    ) as vault:
        holding = asyncio.create_task(vault.ensure_access_token(ACCOUNT))
        await gate.reached.wait()
        asyncio.get_running_loop().call_later(1, gate.open.set)
    assert (await holding).value.reveal() == "access-1"
    async with open_vault(config, clock=clock) as vault:
        assert await stored(vault) == NEW


async def test_periodic_work_that_fails_is_repeated(caplog):
    runs = asyncio.Queue()

    async def fail():
        runs.put_nowait(None)
        raise ZeroDivisionError

    async with asyncio.timeout(30):
        async with repeating(fail, 0.001):
            for _ in range(3):
                await runs.get()
    assert "ZeroDivisionError" in caplog.text


async def test_the_last_periodic_work_has_a_limit():
    async with asyncio.timeout(30):
        async with repeating(asyncio.Event().wait, 1000, limit=0.01):
            pass
