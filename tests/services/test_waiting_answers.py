"""Answers that wait for the database: commits that hang, reads meanwhile, and the end of the vault."""

import asyncio
import copy
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve
from tests.services.conftest import ACCESS, ACCOUNT, HOUR, REFRESH, answer
from tests.services.fakes import Failing, MemoryJournal, Obstructed, settle

from vault_adapters import AuditEvent, RefreshFailedError, RefreshNotPersistedError, Secret, StorageError, SweepReport
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_adapters.testing import ScriptedRefresher
from vault_adapters.testing.contract.refreshing import claimed, state_of
from vault_domain.entities.audit import READ_ACTIONS
from vault_domain.entities.token import TokenDraft
from vault_domain.rules.timing import RefreshTiming
from vault_domain.services.refresh.fresh_calls import FreshCalls
from vault_domain.services.tokens.hosting import UncommittedEvents

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
AWAY = StorageError("away", retryable=True)
SHORT = RefreshTiming(commit_budget=timedelta(seconds=0.1))


class Hanging(Obstructed):
    """A repository whose method hangs in its first ``times`` calls."""

    def __init__(self, right, method, times=10**9):
        super().__init__(right, method)
        self.left = times
        self.hanging = 0
        self.reached = asyncio.Event()

    async def obstruct(self):
        if self.left > 0:
            self.left -= 1
            self.hanging += 1
            self.reached.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.hanging -= 1


@pytest.fixture
async def quick(connected):
    """Give the use cases with the real event loop, where a commit may take a tenth of a second."""
    tasks = AsyncioTasks()
    yield connected.over(tasks=tasks, timing=SHORT)
    await tasks.drain(0)


def hanging(cases, method="commit", times=10**9):
    ledger = Hanging(cases.store.refreshes, method, times)
    return cases.over(store=evolve(cases.store, refreshes=ledger)), ledger


def failing(cases, **changes):
    """Return the use cases over a ledger that fails to commit, and that ledger."""
    ledger = Failing(cases.store.refreshes, "commit", AWAY)
    return cases.over(store=evolve(cases.store, refreshes=ledger), **changes), ledger


async def ensure(cases, account=ACCOUNT, timeout=None):
    return (await cases.refreshing.ensure(account, timeout, actor="me")).value.reveal()


async def read(cases):
    """Return the access token in each of the ways to read it; None: not stored, or not usable."""
    one, usable = await cases.tokens.get(ACCESS), await cases.tokens.get_access(ACCOUNT, None)
    many = await cases.tokens.get_many([REFRESH, ACCESS])
    found = [one, usable and usable.token, many.get(ACCESS)]
    return [token and (token.value.reveal(), token.info.generation) for token in found]


# The commit


async def test_a_commit_that_hangs_is_not_joined_by_the_next_one(quick, refresher):
    cases, ledger = hanging(quick, times=1)
    refresher.then(answer(1))
    async with asyncio.timeout(30):
        assert await ensure(cases) == "access-1"
        while cases.keeper.is_pending(ACCOUNT):
            await cases.keeper.retry_all()
    assert ledger.hanging == 1  # the first commit, which may still succeed
    assert (await cases.tokens.get(REFRESH)).value.reveal() == "refresh-1"
    assert (cases.keeper.is_pending(ACCOUNT), await cases.journal.entries()) == (False, [])


async def test_a_database_that_hangs_does_not_take_all_connections(quick, refresher):
    cases, ledger = hanging(quick)
    refresher.then(answer(1))
    async with asyncio.timeout(30):
        assert await ensure(cases) == "access-1"
        for _ in range(5):
            await cases.keeper.retry_all()
    assert 1 < ledger.hanging <= 3


async def test_a_call_that_is_only_slow_is_joined():
    calls, free, runs = FreshCalls(AsyncioTasks(), patience=1000), asyncio.Event(), []

    async def work():
        runs.append(1)
        await free.wait()
        return 7

    with pytest.raises(TimeoutError):
        await calls.call("a", work, 0.01)
    second = asyncio.create_task(calls.call("a", work, 30))
    await settle()
    free.set()
    assert (await second, len(runs), calls.is_running("a")) == (7, 1, False)


# The journal


async def test_the_journal_has_the_answer_before_the_database_is_asked(quick, refresher):
    cases, ledger = hanging(quick)
    refresher.then(answer(1))
    caller = asyncio.create_task(ensure(cases))
    await ledger.reached.wait()
    assert len(await cases.journal.entries()) == 1
    caller.cancel()
    # Another process finds the entry, as it would after the death of this one.
    other = quick.over(tasks=AsyncioTasks(), timing=RefreshTiming())
    assert await other.keeper.recover() == 1
    assert (await quick.tokens.get(REFRESH)).value.reveal() == "refresh-1"
    assert await cases.journal.entries() == []


class KeepingJournal(MemoryJournal):
    """A journal that loses no entry, as if the process died before it removed one."""

    async def remove(self, entry):
        """Do nothing."""


async def test_two_entries_of_one_account_are_committed_in_turn(connected, refresher, caplog):
    """The database has lost two commits, as after a restore, and does not answer when the vault opens."""
    database = connected.store.accounts._database
    before = copy.deepcopy(database.tables)
    refresher.then(answer(1), answer(2))
    first = connected.over(journal=KeepingJournal())
    assert await ensure(first) == "access-1"
    first.clock.advance(HOUR)
    assert await ensure(first) == "access-2"
    database.tables = before
    journal = MemoryJournal()
    for entry in await first.journal.entries():
        await journal.write(entry)
    restarted, ledger = failing(connected, journal=journal)
    assert await restarted.keeper.recover() == 2
    assert caplog.messages[-1] == (
        "the journal held 2 refreshed token sets; the database has not stored those of 1 accounts yet"
    )
    ledger.left = 0
    await restarted.keeper.retry_all()
    caplog.clear()
    assert (await restarted.tokens.get(REFRESH)).value.reveal() == "refresh-1"
    assert await restarted.keeper.recover() == 1
    assert caplog.messages == []  # nothing is left to tell
    assert (await restarted.tokens.get(REFRESH)).value.reveal() == "refresh-2"
    assert await journal.entries() == []


async def test_an_answer_whose_task_was_cancelled_waits_for_the_end(quick, refresher):
    cases, ledger = hanging(quick, times=1)
    cases = cases.over(journal=MemoryJournal(is_full=True))
    refresher.then(answer(1))
    caller = asyncio.create_task(ensure(cases))
    await ledger.reached.wait()
    await cases.tasks.drain(0)  # cancels all tasks, as asyncio.run does
    await asyncio.gather(caller, return_exceptions=True)
    assert cases.keeper.is_pending(ACCOUNT)
    await cases.keeper.close(5)
    assert (await quick.tokens.get(REFRESH)).value.reveal() == "refresh-1"


async def test_without_a_journal_a_refresh_logs_no_error(connected, refresher, caplog):
    cases = connected.over(journal=MemoryJournal(is_full=True))
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"
    assert caplog.text == ""


async def test_a_journal_that_was_full_is_tried_again(connected, refresher):
    cases, _ = failing(connected, journal=MemoryJournal(is_full=True))
    refresher.then(answer(1))
    with pytest.raises(RefreshNotPersistedError):
        await ensure(cases)
    await cases.keeper.retry_all()
    assert await cases.journal.entries() == []
    cases.journal.is_full = False
    await cases.keeper.retry_all()
    assert len(await cases.journal.entries()) == 1
    assert await ensure(cases) == "access-1"


async def test_closing_tries_the_journal_at_last(connected, refresher, caplog):
    cases, _ = failing(connected, journal=MemoryJournal(is_full=True))
    refresher.then(answer(1))
    with pytest.raises(RefreshNotPersistedError):
        await ensure(cases)

    async def make_room():
        cases.journal.is_full = cases.tasks.monotonic() < began + 8

    cases.tasks.during_sleep, began = make_room, cases.tasks.monotonic()
    await cases.keeper.close(10)
    cases.keeper.report_lost()
    assert len(await cases.journal.entries()) == 1
    assert "lost" not in caplog.text


# Closing


async def test_waiting_answers_are_tried_together_when_the_vault_closes(quick, refresher):
    accounts = [evolve(ACCOUNT, identifier=f"{number:02}") for number in range(30)]
    for account in accounts:
        await quick.connect(account)
    quick.clock.advance(HOUR)
    cases, _ = hanging(quick)
    refresher.then(*map(answer, range(30)))
    async with asyncio.timeout(60):
        await asyncio.gather(*(ensure(cases, account) for account in accounts))
    # From here on, a try takes ten seconds. Even ten at a time, 30 tries would take longer than this test allows.
    cases.keeper._patience = 10.0
    async with asyncio.timeout(15):
        await cases.keeper.close(1.0)
    assert len(await cases.journal.entries()) == 30


async def test_closing_ends_in_time_where_neither_journal_nor_database_takes_an_answer(connected, refresher, caplog):
    cases, _ = failing(connected, journal=MemoryJournal(is_full=True))
    refresher.then(answer(1))
    with pytest.raises(RefreshNotPersistedError):
        await ensure(cases)
    cases.keeper.stop_waiting()
    began = cases.tasks.monotonic()
    await cases.tasks.sleep(6)  # running attempts end meanwhile
    await cases.keeper.close(10)
    assert cases.tasks.monotonic() - began <= 10
    cases.keeper.report_lost()
    assert "1 refreshed token sets are lost" in caplog.text


async def test_only_the_answers_that_no_journal_holds_are_counted_as_lost(connected, refresher, caplog):
    accounts = [evolve(ACCOUNT, identifier=f"{number}") for number in range(3)]
    for account in accounts:
        await connected.connect(account)
    connected.clock.advance(HOUR)
    cases, _ = failing(connected)
    refresher.then(*map(answer, range(1, 4)))
    await ensure(cases, accounts[0])
    cases.journal.is_full = True
    for account in accounts[1:]:
        with pytest.raises(RefreshNotPersistedError):
            await ensure(cases, account)
    cases.keeper.report_lost()
    assert "2 refreshed token sets are lost" in caplog.text


async def test_a_vault_that_closes_starts_no_attempt(connected, refresher):
    connected.refreshing.stop()
    refresher.then(answer(1))
    with pytest.raises(RefreshFailedError, match="closing"):
        await ensure(connected)
    assert await connected.sweeping.sweep(None, None, actor=None) == SweepReport()
    assert refresher.calls == []
    assert (await state_of(connected.store)).attempt_id is None


async def test_who_waits_for_another_process_is_told_that_the_vault_closes(connected, refresher):
    await claimed(connected.store)

    async def close():
        connected.refreshing.stop()

    connected.tasks.during_sleep = close
    with pytest.raises(RefreshFailedError, match="closing"):
        await ensure(connected)
    assert connected.tasks.monotonic() < 1
    assert refresher.calls == []


async def test_a_vault_that_closes_while_an_attempt_is_admitted_claims_nothing(connected, refresher):
    claims = []

    class Closing:
        """A port of a vault that begins to close while this port answers."""

        def __init__(self, right):
            self._right = right

        def __getattr__(self, name):
            async def call(*args, **kwargs):
                cases.refreshing.stop()
                return await getattr(self._right, name)(*args, **kwargs)

            return call

    class Ledger:
        def __init__(self, right):
            self._right = right

        def __getattr__(self, name):
            claims.extend(["claim"] if name == "claim" else [])
            return getattr(self._right, name)

    store = evolve(
        connected.store, clients=Closing(connected.store.clients), refreshes=Ledger(connected.store.refreshes)
    )
    cases = connected.over(store=store)
    with pytest.raises(RefreshFailedError, match="closing"):
        await ensure(cases)
    assert (claims, refresher.calls) == ([], [])


@pytest.mark.parametrize("step", ["claim", "read"])
async def test_a_claim_that_comes_while_the_vault_closes_is_given_back(connected, refresher, step):
    refresher.then(answer(1))

    class Closing:
        """The ledger of a vault that begins to close after this step of the attempt."""

        def __init__(self, right):
            self._right, self._claimed = right, False

        def __getattr__(self, name):
            async def call(*args, **kwargs):
                result = await getattr(self._right, name)(*args, **kwargs)
                self._claimed |= name == "claim"
                if self._claimed and name == step:
                    cases.refreshing.stop()
                return result

            return call

    cases = connected.over(store=evolve(connected.store, refreshes=Closing(connected.store.refreshes)))
    with pytest.raises(RefreshFailedError, match="closing"):
        await ensure(cases)
    assert refresher.calls == []
    assert (await state_of(connected.store)).lease_until is None
    assert await ensure(connected) == "access-1"  # another vault need not wait


async def test_a_running_attempt_ends_normally_when_the_vault_closes(connected):
    async def close_then_answer(request):
        cases.refreshing.stop()
        assert cases.refreshing.is_running
        return answer(1)

    cases = connected.over(refreshers={"google": ScriptedRefresher(close_then_answer)})
    assert await ensure(cases) == "access-1"
    assert not cases.refreshing.is_running
    assert (await cases.tokens.get(REFRESH)).value.reveal() == "refresh-1"


async def test_inside_the_buffer_a_vault_that_closes_gives_the_token_that_is_valid(cases):
    cases = cases.over(refreshers={"google": ScriptedRefresher()})
    await cases.connect()
    cases.clock.advance(HOUR - timedelta(minutes=1))
    cases.refreshing.stop()
    assert await ensure(cases) == "access-0"


# Reads


async def test_every_read_gives_the_token_that_one_caller_has_got(connected, refresher):
    cases, ledger = failing(connected)
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"
    assert await read(cases) == [("access-1", 0)] * 3
    assert await ensure(cases, timeout=1) == "access-1"
    found = await cases.tokens.get(ACCESS)
    ledger.left = 0
    await cases.keeper.retry_all()
    stored = await cases.tokens.get(ACCESS)
    assert (stored.info.value_id, stored.info.id) == (found.info.value_id, found.info.id)
    assert (stored.info.generation, found.info.generation) == (2, 0)
    assert stored.info.expires_at == found.info.expires_at


async def test_a_waiting_token_that_a_resource_rejected_is_not_handed_out_again(connected, refresher):
    cases, ledger = failing(connected)
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"
    found = await cases.tokens.get(ACCESS)
    cases.tokens.refuse(found.info)
    with pytest.raises(StorageError):
        await ensure(cases)
    assert "access-1" not in str(await read(cases))
    ledger.left = 0
    await cases.keeper.retry_all()
    assert (await cases.tokens.get(ACCESS)).info.value_id == found.info.value_id


async def test_a_first_access_token_is_read_too(connected, refresher):
    await connected.writing.delete(ACCESS, actor=None)
    cases, _ = failing(connected)
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"
    assert await read(cases) == [("access-1", 0)] * 3


async def test_a_read_whose_wait_is_over_gives_the_waiting_token(quick, refresher):
    cases, _ = hanging(quick)
    refresher.then(answer(1))
    async with asyncio.timeout(30):
        assert await ensure(cases) == "access-1"
        assert await ensure(cases, timeout=0.01) == "access-1"


async def test_a_caller_does_not_wait_for_the_commit_of_an_answer_that_is_journaled(quick, refresher):
    cases, _ = hanging(quick)
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"
    cases.keeper._patience = 60.0  # from here on, a commit that hangs takes a minute
    async with asyncio.timeout(20):
        assert await ensure(cases) == "access-1"


async def test_what_only_memory_holds_is_not_read(connected, refresher):
    cases, _ = failing(connected, journal=MemoryJournal(is_full=True))
    refresher.then(answer(1))
    with pytest.raises(RefreshNotPersistedError):
        await ensure(cases)
    assert await read(cases) == [("access-0", 1), None, ("access-0", 1)]


async def put(cases, value):
    draft = TokenDraft(ACCESS, Secret(value))
    await cases.writing.store([draft], actor=None)


@pytest.mark.parametrize("here", [True, False])
async def test_what_is_stored_meanwhile_is_read(connected, refresher, here):
    cases, _ = failing(connected)
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"
    await put(cases if here else connected, "mine")
    assert await read(cases) == [("mine", 2)] * 3
    assert await ensure(cases) == "mine"


async def test_what_is_deleted_meanwhile_is_not_read(connected, refresher):
    cases, _ = failing(connected)
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"
    await connected.writing.delete(ACCESS, actor=None)
    assert await read(cases) == [None] * 3


def unreachable(cases):
    """Return the use cases over a store whose commits fail, and two fakes of its reads, which fail for `left` calls."""
    reads = Failing(cases.store.accounts, "get", AWAY, times=0)
    ledger = Failing(Failing(cases.store.refreshes, "commit", AWAY), "read", AWAY, times=0)
    return cases.over(store=evolve(cases.store, accounts=reads, refreshes=ledger)), [reads, ledger]


async def test_a_database_that_does_not_answer_leaves_the_waiting_token(connected, refresher):
    cases, cuts = unreachable(connected)
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"
    for cut in cuts:
        cut.left = 10**9
    assert (await cases.tokens.get(ACCESS)).value.reveal() == "access-1"
    assert (await cases.tokens.get_access(ACCOUNT, None)).token.value.reveal() == "access-1"
    assert await ensure(cases) == "access-1"
    with pytest.raises(StorageError):
        await cases.tokens.get(REFRESH)


async def test_a_waiting_token_that_was_rejected_is_not_handed_out_while_the_database_is_away(connected, refresher):
    cases, cuts = unreachable(connected)
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"
    cases.tokens.refuse((await cases.tokens.get(ACCESS)).info)
    for cut in cuts:
        cut.left = 10**9
    for call in (cases.tokens.get(ACCESS), cases.tokens.get_access(ACCOUNT, None), ensure(cases)):
        with pytest.raises(StorageError):
            await call


async def test_after_a_change_of_this_process_only_the_database_knows(connected, refresher):
    """Otherwise, a read would return an older token than the one that this process has stored."""
    cases, cuts = unreachable(connected)
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"
    await put(cases, "mine")
    for cut in cuts:
        cut.left = 10**9
    for call in (cases.tokens.get(ACCESS), cases.tokens.get_access(ACCOUNT, None), ensure(cases)):
        with pytest.raises(StorageError):
            await call


@pytest.mark.parametrize("action", sorted(READ_ACTIONS))
async def test_the_event_of_a_read_is_no_change(connected, refresher, action):
    cases, cuts = unreachable(connected)
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"
    cases.held.watching(cases.sink).publish([AuditEvent(action, NOW, "t1", ACCOUNT, ACCESS.kind)])
    for cut in cuts:
        cut.left = 10**9
    assert (await cases.tokens.get(ACCESS)).value.reveal() == "access-1"


@pytest.mark.parametrize(("tenant_id", "is_concerned"), [(None, True), ("t1", True), ("t2", False)])
async def test_an_event_without_an_account_concerns_its_tenant_or_all(connected, refresher, tenant_id, is_concerned):
    cases, cuts = unreachable(connected)
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"
    cases.held.watching(cases.sink).publish([AuditEvent("tenant_erased", NOW, tenant_id)])
    for cut in cuts:
        cut.left = 10**9
    assert (cases.held.alone(ACCESS) is None) == is_concerned


async def test_a_change_that_the_host_has_not_committed_counts_too_but_nobody_is_told(connected, refresher):
    cases, _ = unreachable(connected)
    refresher.then(answer(1))
    assert await ensure(cases) == "access-1"
    told = list(cases.sink.events)
    UncommittedEvents(cases.held).publish([AuditEvent("token_stored", NOW, "t1", ACCOUNT, ACCESS.kind)])
    assert cases.held.alone(ACCESS) is None
    assert cases.sink.events == told


async def test_a_change_during_the_commit_counts_too(connected, refresher):
    cases, cuts = unreachable(connected)
    refresher.then(answer(1))

    class StoringJournal(MemoryJournal):
        async def write(self, entry):
            await super().write(entry)
            await put(cases, "mine")

    cases = cases.over(journal=StoringJournal())
    assert await ensure(cases) == "mine"
    for cut in cuts:
        cut.left = 10**9
    for call in (cases.tokens.get(ACCESS), ensure(cases)):
        with pytest.raises(StorageError):
            await call


# The age of a waiting token


async def test_the_age_of_a_waiting_token_counts_from_the_claim(connected):
    async def answer_late(request):
        await connected.tasks.sleep(8)
        for cut in cuts:  # from here on, all reads fail, so none of them tells the store's time
            cut.left = 10**9
        return answer(1, lifetime=60)

    cases, cuts = unreachable(connected.over(refreshers={"google": ScriptedRefresher(answer_late)}))
    assert await ensure(cases) == "access-1"
    waited = cases.tasks.monotonic()
    await cases.tasks.sleep(59 - waited)
    assert await ensure(cases) == "access-1"
    await cases.tasks.sleep(61 - cases.tasks.monotonic())
    for call in (cases.tokens.get(ACCESS), cases.tokens.get_access(ACCOUNT, None), ensure(cases)):
        with pytest.raises(StorageError):
            await call


async def test_a_recovered_token_that_has_expired_is_not_handed_out(connected, refresher):
    cases, _ = failing(connected)
    refresher.then(answer(1, lifetime=60))
    assert await ensure(cases) == "access-1"
    connected.clock.advance(65 * SECOND)
    restarted, _ = failing(connected)
    await restarted.keeper.recover()
    with pytest.raises(StorageError, match="expired"):
        await ensure(restarted)
    assert await restarted.tokens.get_access(ACCOUNT, None) is None


async def test_a_recovered_token_waits_until_the_store_has_told_the_time(connected, refresher):
    cases, _ = failing(connected)
    refresher.then(answer(1, lifetime=60))
    assert await ensure(cases) == "access-1"
    connected.clock.advance(30 * SECOND)
    restarted, cuts = unreachable(connected)
    await restarted.keeper.recover()
    for cut in cuts:
        cut.left = 10**9
    with pytest.raises(StorageError, match="does not tell"):
        await ensure(restarted)
    with pytest.raises(StorageError):
        await restarted.tokens.get(ACCESS)
    cuts[1].left = 0
    assert await ensure(restarted) == "access-1"
    cuts[1].left = 10**9
    assert await ensure(restarted) == "access-1"
    await restarted.tasks.sleep(31)
    with pytest.raises(StorageError, match="expired"):
        await ensure(restarted)
