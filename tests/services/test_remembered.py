"""Which reads a process answers from memory while its store does not answer, and which rows it forgets."""

import asyncio
from datetime import timedelta

import pytest
from attrs import evolve
from tests.services.conftest import ACCESS, ACCOUNT, HOUR, REFRESH, answer
from tests.services.fakes import Failing, Obstructed, VirtualTasks, settle

from vault_adapters import Account, MarkOutcome, Secret, StorageError, TokenKind
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_adapters.testing import ScriptedRefresher
from vault_domain.entities.account_state import AccountState
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.suspicion import ConfirmationWindow
from vault_domain.entities.token import TokenDraft
from vault_domain.memory.rows import RememberedRows
from vault_domain.ports.late_writes import LateWrites
from vault_domain.rules.remembering import MemoryPolicy
from vault_domain.services.tokens.reading import PATIENCE

OTHER = Account("t2", "google", "bea")
AWAY = StorageError("away", retryable=True)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


def without(cases, error=AWAY):
    """Let every read of the store fail from now on; the memory stays."""
    cases.reader._accounts = Failing(cases.store.accounts, "get", error)


async def stored(cases, key=ACCESS, value="v", **fields):
    [info] = await cases.writing.store([TokenDraft(key, Secret(value), **fields)], actor=None)
    return info


async def remembered(cases, key=ACCESS):
    """Return what a reader gets while the store is away; None: an error."""
    without(cases)
    try:
        token = await cases.tokens.get(key)
    except StorageError:
        return None
    return token.value.reveal()


async def read_once(cases):
    """Store a token with another vault over the same store, and read it."""
    await stored(cases.over())
    await cases.tokens.get(ACCESS)


async def read_access_once(cases):
    await stored(cases.over())
    await cases.tokens.get_access(ACCOUNT, None)


async def read_among_many(cases):
    await stored(cases.over())
    await cases.tokens.get_many([ACCESS])


async def store_set(cases):
    await cases.connect()


async def refreshed(cases):
    await cases.connect()
    cases.clock.advance(HOUR)
    await cases.refreshing.ensure(ACCOUNT, None, actor=None)


SEEN = {
    read_once: "v",
    read_access_once: "v",
    read_among_many: "v",
    stored: "v",
    store_set: "access-0",
    refreshed: "access-1",
}


@pytest.mark.parametrize("see", SEEN)
async def test_a_token_that_was_read_stored_or_refreshed_is_handed_out_while_the_store_is_away(cases, see):
    cases = cases.over(refreshers={"google": ScriptedRefresher(answer(1))})
    await see(cases)
    assert await remembered(cases) == SEEN[see]
    found = await cases.tokens.get_access(ACCOUNT, None)
    ensured = await cases.refreshing.ensure(ACCOUNT, None, actor=None)
    assert found.token.value.reveal() == ensured.value.reveal() == SEEN[see]


async def test_a_token_that_is_missing_among_many_is_forgotten(cases):
    await stored(cases)
    await cases.over().writing.delete(ACCESS, actor=None)
    assert await cases.tokens.get_many([ACCESS]) == {}
    assert await remembered(cases) is None


async def test_the_answer_counts_as_a_use(cases):
    await stored(cases)
    without(cases)
    await cases.tokens.get(ACCESS)
    await cases.uses.flush()
    assert (await cases.store.accounts.get(ACCESS)).row.info.last_used_at == cases.clock.now()


async def test_a_due_token_is_handed_out_without_a_wait_for_its_refresh(cases):
    refresher = ScriptedRefresher()
    cases = cases.over(refreshers={"google": refresher})
    await cases.connect(lifetime=120)
    cases.clock.advance(90 * SECOND)
    without(cases)
    token = await cases.refreshing.ensure(ACCOUNT, None, actor=None)
    assert (token.value.reveal(), refresher.calls) == ("access-0", [])


async def test_an_expired_token_is_never_handed_out(cases):
    await stored(cases, expires_at=cases.clock.now() + MINUTE)
    without(cases)
    cases.clock.advance(MINUTE - timedelta(microseconds=1))
    assert (await cases.tokens.get(ACCESS)).value.reveal() == "v"
    cases.clock.advance(timedelta(microseconds=1))
    assert await remembered(cases) is None


async def test_a_row_is_handed_out_for_a_limited_time_after_the_store_confirmed_it(cases):
    await stored(cases)
    cases.clock.advance(9 * MINUTE)
    await cases.tokens.get(ACCESS)
    cases.clock.advance(10 * MINUTE - SECOND)
    assert await remembered(cases) == "v"
    cases.clock.advance(SECOND)
    assert await remembered(cases) is None


async def test_the_time_passes_by_the_monotonic_clock_too(cases):
    """Without a `clock`, only the monotonic clock tells the store's time during an outage."""
    rows = RememberedRows(MemoryPolicy(), cases.tasks)
    now = cases.clock.now()
    await stored(cases, expires_at=now + MINUTE)
    row = (await cases.store.accounts.get(ACCESS)).row
    rows.saw(ACCESS, row, now, rows.begin())
    await cases.tasks.sleep(59)
    assert rows.stale(ACCESS).now == now + 59 * SECOND
    await cases.tasks.sleep(1)
    assert rows.stale(ACCESS) is None


async def test_a_row_that_the_store_tells_again_counts_from_then(cases):
    """The memory keeps the first object of a row, so that repeated reads leave no work for the garbage collector."""
    rows = RememberedRows(MemoryPolicy(serve_stale=10 * MINUTE), cases.tasks)
    now = cases.clock.now()
    await stored(cases, expires_at=now + 15 * MINUTE)
    row = (await cases.store.accounts.get(ACCESS)).row
    rows.saw(ACCESS, row, now, rows.begin())
    await cases.tasks.sleep(599)
    rows.saw(ACCESS, evolve(row, sealed=evolve(row.sealed)), now + 599 * SECOND, rows.begin())
    await cases.tasks.sleep(300)
    assert rows.stale(ACCESS).now == now + 899 * SECOND
    assert rows.stale(ACCESS).row is row
    await cases.tasks.sleep(1)
    assert rows.stale(ACCESS) is None  # because it expired


async def test_zero_switches_it_off(cases):
    cases = cases.over(memory=MemoryPolicy(serve_stale=timedelta(0)))
    await stored(cases)
    assert await remembered(cases) is None


async def test_a_refresh_token_is_never_answered_from_memory(cases):
    await cases.connect()
    await cases.tokens.get_refresh(ACCOUNT)
    without(cases)
    assert await remembered(cases, REFRESH) is None
    with pytest.raises(StorageError):
        await cases.tokens.get_refresh(ACCOUNT)


async def test_a_fresh_read_asks_the_store(cases):
    await stored(cases)
    without(cases)
    for call in (
        cases.tokens.get(ACCESS, fresh=True),
        cases.tokens.get_access(ACCOUNT, None, fresh=True),
        cases.refreshing.ensure(ACCOUNT, None, actor=None, fresh=True),
    ):
        with pytest.raises(StorageError):
            await call


async def test_an_error_that_a_retry_does_not_help_is_raised(cases):
    await stored(cases)
    without(cases, StorageError("broken"))
    with pytest.raises(StorageError):
        await cases.tokens.get(ACCESS)


async def test_a_data_key_that_is_not_at_hand_ends_it(cases):
    """The process would have to read the data key from the store, which does not answer."""
    await stored(cases)
    cases.rows._is_at_hand = lambda tenant_id, _: tenant_id != "t1"
    assert await remembered(cases) is None


async def test_the_least_recently_confirmed_row_is_forgotten_first(cases):
    cases = cases.over(memory=MemoryPolicy(size=2))
    keys = [Account("t1", "google", name).key(TokenKind.API_KEY) for name in "abc"]
    for key in keys:
        await stored(cases, key)
    assert [await remembered(cases, key) for key in keys] == [None, "v", "v"]
    assert len(cases.rows) == 2


async def delete(cases):
    await cases.writing.delete(ACCESS, actor=None)


async def delete_provider(cases):
    await cases.writing.delete_provider("t1", "google", actor=None)


async def delete_account(cases):
    await cases.accounts.delete(ACCOUNT, revoke=False, actor=None)


async def erase(cases):
    await cases.erasing.erase("t1", actor=None)


async def mark(cases):
    info = (await cases.store.accounts.get(ACCESS)).row.info
    assert await cases.writing.mark_invalid(info, "x", actor=None) is MarkOutcome.APPLIED


async def suspect(cases):
    info = (await cases.store.accounts.get(ACCESS)).row.info
    await cases.writing.report_rejected(info, "x", window=ConfirmationWindow(), actor=None)


async def report(cases):
    info = (await cases.store.accounts.get(ACCESS)).row.info
    cases.tokens.refuse(info)


WRITES = [delete, delete_provider, delete_account, erase, mark, suspect, report]


@pytest.mark.parametrize("write", WRITES)
async def test_what_this_process_changed_is_forgotten(cases, write):
    await cases.connect()
    await stored(cases, OTHER.key(TokenKind.API_KEY), "other")
    await write(cases)
    assert await remembered(cases) is None
    assert await remembered(cases, OTHER.key(TokenKind.API_KEY)) == "other"


@pytest.mark.parametrize("write", WRITES)
async def test_a_read_that_is_overtaken_by_a_write_does_not_bring_the_row_back(cases, write):
    await cases.connect()
    await cases.tokens.get(ACCESS)
    gate = asyncio.Event()

    class Late(Obstructed):
        """The store has read the old row, but its answer takes time."""

        async def get(self, key):
            found = await self._right.get(key)
            await gate.wait()
            return found

    cases.reader._accounts = Late(cases.store.accounts, "")
    reading = asyncio.create_task(cases.tokens.get(ACCESS))
    await settle()
    await write(cases)
    gate.set()
    await asyncio.gather(reading, return_exceptions=True)  # the old row is allowed: the read began first
    assert await remembered(cases) is None


async def test_of_two_reads_the_one_that_began_later_is_remembered(cases):
    """The first one has read the old row, and its answer comes last."""
    await stored(cases.over())
    gate = asyncio.Event()

    class Late(Obstructed):
        async def get(self, key):
            found = await self._right.get(key)
            await gate.wait()
            return found

    cases.reader._accounts = Late(cases.store.accounts, "")
    reading = asyncio.create_task(cases.tokens.get(ACCESS))
    await settle()
    await stored(cases.over(), value="w")
    cases.reader._accounts = cases.store.accounts
    await cases.tasks.sleep(1)
    assert (await cases.tokens.get(ACCESS)).value.reveal() == "w"
    gate.set()
    assert (await reading).value.reveal() == "v"
    assert await remembered(cases) == "w"


async def test_an_invalid_token_and_a_missing_one_are_forgotten_when_they_are_seen(cases):
    for change in (mark, delete):
        await stored(cases)
        await change(cases.over())
        await cases.tokens.get(ACCESS)
        assert await remembered(cases) is None
        cases.reader._accounts = cases.store.accounts


async def test_what_an_account_shows_to_be_replaced_or_invalid_is_forgotten(cases):
    for change in (mark, delete, stored):
        await stored(cases)
        await change(cases.over())
        await cases.accounts.get(ACCOUNT)
        assert await remembered(cases) is None
        cases.reader._accounts = cases.store.accounts


async def test_a_later_value_of_this_process_takes_the_place_of_the_earlier_one(cases):
    await stored(cases)
    await stored(cases, value="w")
    assert await remembered(cases) == "w"


@pytest.mark.parametrize("error", [AWAY, asyncio.CancelledError()])
async def test_a_write_without_a_known_result_keeps_its_row_out_of_the_memory(cases, error):
    """The store may commit it after later reads."""

    class Lost:
        async def change(self, account, decide):
            row = (await cases.store.accounts.get(ACCESS)).row
            decide(AccountState(account, {row.key.kind: row}), cases.clock.now())
            raise error

    await stored(cases)
    cases.writing._changes._accounts._right = Lost()
    with pytest.raises(type(error)):
        await cases.writing.delete(ACCESS, actor=None)
    await cases.tokens.get(ACCESS)
    assert await remembered(cases) is None
    cases.reader._accounts = cases.store.accounts
    await cases.tasks.sleep(60)
    await cases.tokens.get(ACCESS)
    assert await remembered(cases) == "v"


async def test_a_rejected_value_is_not_remembered_again(cases):
    await stored(cases)
    token = await cases.tokens.get(ACCESS)
    without_ledger = Failing(cases.store.refreshes, "read", AWAY)
    cases.rejections._ledger = without_ledger
    with pytest.raises(StorageError):
        await cases.rejections.report(token.info, actor=None)
    await cases.tokens.get(ACCESS)
    assert await remembered(cases) is None


async def test_two_writes_at_once_leave_nothing_to_remember(cases):
    """Which of them is stored last is not known."""
    await asyncio.gather(stored(cases, value="v"), stored(cases, value="w"))
    assert await remembered(cases) is None


async def test_an_import_forgets_the_rows_that_it_may_replace(cases):
    await stored(cases)
    sealed = (await cases.store.accounts.get(ACCESS)).row.sealed
    write = ImportedToken(ACCESS, Secret("w")).seal(sealed, None)
    late = LateWrites.of([write])
    batch = await cases.noticed.accounts.begin_import(None, overwrite=True, actor=None)(late)
    assert await remembered(cases) is not None
    await batch()
    assert await remembered(cases) is None


async def test_many_values_forget_the_rows_that_they_replace(cases):
    await stored(cases)
    keys = [ACCESS, *(evolve(ACCESS, identifier=f"u{number}") for number in range(1000))]
    await cases.writing.store([TokenDraft(key, Secret("w")) for key in keys], actor=None)
    assert await remembered(cases) is None


class Overdue(VirtualTasks):
    """The store does not answer in time, and a minute passes meanwhile."""

    async def limited(self, seconds, call, only_if, about):
        call.close()
        await self.sleep(60)
        raise TimeoutError

    async def share(self, key, work, timeout=None):
        if timeout is not None:
            raise TimeoutError
        return await super().share(key, work)


async def test_reads_that_wait_for_the_store_after_all_are_counted_if_they_fail(cases):
    cases = cases.over(tasks=Overdue(cases.clock))
    await stored(cases, expires_at=cases.clock.now() + MINUTE)
    without(cases)
    with pytest.raises(StorageError):
        await cases.tokens.get(ACCESS)
    assert cases.observed.reads.failed == 1
    cases.reader._accounts = Failing(cases.store.accounts, "get_many", AWAY)
    with pytest.raises(StorageError):
        await cases.tokens.get_many([ACCESS, REFRESH])
    assert cases.observed.reads.failed == 3


def test_a_caller_waits_for_a_second_at_most():
    """The documents promise it; `Tasks.limited` may take a tenth longer."""
    assert PATIENCE * 1.1 <= 1.0


@pytest.mark.parametrize("fresh", [True, False])
async def test_memory_answers_when_the_patience_of_a_read_has_passed_but_not_with_fresh(cases, fresh):
    cases = cases.over(tasks=AsyncioTasks())
    await stored(cases)
    asked, right = [], cases.store.accounts

    class Slow:
        async def get(self, key, known=None):
            asked.append(key)
            await asyncio.sleep(0.2)
            return await right.get(key)

    cases.reader._accounts = Slow()
    reading = await cases.reader.read(ACCESS, fresh=fresh, patience=0.02)
    assert reading.is_stale is not fresh
    assert len(asked) == (1 if fresh else 2)  # the second goes on, so that its answer is remembered
    await asyncio.sleep(0.25)
