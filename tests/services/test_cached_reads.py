"""Which reads a process answers from memory without a query, and how it learns that a row has changed."""

import asyncio
from datetime import timedelta

import pytest
from attrs import evolve
from tests.services.conftest import ACCESS, ACCOUNT, HOUR, REFRESH, answer
from tests.services.fakes import Obstructed, settle

from vault_adapters import Account, Secret, TokenKind
from vault_adapters.testing import ScriptedRefresher
from vault_domain.entities.token import TokenDraft
from vault_domain.entities.token_set import TokenSet
from vault_domain.memory.change_log import scope_of_key
from vault_domain.rules.remembering import MemoryPolicy

CACHE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)
OTHER = Account("t1", "google", "bea").key(TokenKind.API_KEY)


class OldTokenDies(ScriptedRefresher):
    """The refresher of a provider whose refresh ends the previous access token."""

    old_token_dies = True


class Watch:
    """A watch that a test controls; the mark of a row is its identifier."""

    def __init__(self):
        self.current = True

    def is_current(self):
        return self.current

    def mark(self, key):
        return key.identifier or ""


class Counting(Obstructed):
    """A repository that counts the reads."""

    def __init__(self, right):
        super().__init__(right, "get")
        self.reads = 0

    async def obstruct(self):
        self.reads += 1


@pytest.fixture
def cached(cases):
    """Give use cases with a cache and a store that counts reads; `other` is another process over the same store."""
    cases = cases.over(memory=MemoryPolicy(read_cache=CACHE), refreshers={"google": ScriptedRefresher(answer(1))})
    cases.watch = Watch()
    cases.rows.watch_by(cases.watch)
    cases.store_reads = cases.reader._accounts = Counting(cases.store.accounts)
    cases.other = cases.over()
    return cases


async def stored(cases, key=ACCESS, value="v", **fields):
    [info] = await cases.writing.store([TokenDraft(key, Secret(value), **fields)], actor=None)
    return info


async def read(cases, key=ACCESS):
    """Return a value, and whether the store was asked for it."""
    before = cases.store_reads.reads
    token = await cases.tokens.get(key)
    return None if token is None else token.value.reveal(), cases.store_reads.reads > before


async def test_a_second_read_asks_nobody(cached):
    await stored(cached.other, expires_at=cached.clock.now() + HOUR)
    assert await read(cached) == ("v", True)
    assert await read(cached) == ("v", False)
    assert (await cached.tokens.get_access(ACCOUNT, None)).token.value.reveal() == "v"
    assert (await cached.refreshing.ensure(ACCOUNT, None, actor=None)).value.reveal() == "v"
    assert cached.store_reads.reads == 1


async def test_what_this_process_stored_needs_no_read(cached):
    await stored(cached)
    assert await read(cached) == ("v", False)


async def test_a_row_is_read_again_when_its_time_is_over(cached):
    await stored(cached)
    cached.clock.advance(CACHE - SECOND)
    assert await read(cached) == ("v", False)
    cached.clock.advance(SECOND)
    assert await read(cached) == ("v", True)


async def test_without_a_watch_a_row_answers_for_a_second(cached):
    await stored(cached)
    cached.watch.current = False
    cached.clock.advance(SECOND - timedelta(microseconds=1))
    assert await read(cached) == ("v", False)
    cached.clock.advance(timedelta(microseconds=1))
    assert await read(cached) == ("v", True)


async def test_a_fresh_read_passes_the_cache_by(cached):
    await stored(cached)
    await cached.tokens.get(ACCESS, fresh=True)
    await cached.tokens.get_access(ACCOUNT, None, fresh=True)
    await cached.refreshing.ensure(ACCOUNT, None, actor=None, fresh=True)
    assert cached.store_reads.reads == 3


async def test_an_expired_row_is_never_answered(cached):
    await stored(cached, expires_at=cached.clock.now() + SECOND)
    cached.clock.advance(SECOND)
    assert await read(cached) == ("v", True)
    assert await cached.tokens.get_access(ACCOUNT, None) is None


async def test_a_cached_token_that_is_due_is_refreshed(cached):
    await cached.connect(lifetime=120)
    cached.rows._cache_seconds = HOUR.total_seconds()
    cached.clock.advance(90 * SECOND)
    assert (await cached.refreshing.ensure(ACCOUNT, None, actor=None)).value.reveal() == "access-1"


async def test_a_refresh_token_is_always_read(cached):
    await cached.connect()
    for _ in range(2):
        assert await read(cached, REFRESH) == ("refresh-0", True)


async def test_a_change_of_another_process_is_heard(cached):
    await stored(cached)
    await stored(cached, OTHER, "other")
    info = await stored(cached.other, value="w")
    cached.rows.row_changed("ann", info.value_id.hex[:8])
    assert await read(cached) == ("w", True)
    assert await read(cached, OTHER) == ("other", False)


async def test_hearing_of_the_value_that_is_remembered_changes_nothing(cached):
    """A process hears of its own writes too."""
    info = await stored(cached)
    cached.rows.row_changed("ann", info.value_id.hex[:8])
    assert await read(cached) == ("v", False)
    cached.rows.row_changed("ann", "")
    assert await read(cached) == ("v", True)


async def test_a_tenants_rows_are_forgotten_together(cached):
    theirs = Account("t2", "google", "bea").key(TokenKind.API_KEY)
    await stored(cached)
    await stored(cached, theirs)
    cached.rows.tenants_changed(lambda tenant_id: tenant_id == "t1")
    assert await read(cached) == ("v", True)
    assert await read(cached, theirs) == ("v", False)


async def test_after_an_unknown_change_every_row_is_read_again_but_still_serves_an_outage(cached):
    await stored(cached)
    cached.rows.anything_changed()
    assert cached.rows.stale(ACCESS).row is not None
    assert await read(cached) == ("v", True)
    assert await read(cached) == ("v", False)


class Late(Counting):
    """A store that has read a row, but whose answer takes time."""

    def __init__(self, right):
        super().__init__(right)
        self.gate = asyncio.Event()

    async def get(self, key):
        self.reads += 1
        found = await self._right.get(key)
        await self.gate.wait()
        return found


@pytest.mark.parametrize("heard", ["row", "tenant", "anything"])
async def test_a_change_that_is_heard_while_a_read_runs_keeps_its_old_row_out(cached, heard):
    await stored(cached.other)
    cached.store_reads = cached.reader._accounts = Late(cached.store.accounts)
    reading = asyncio.create_task(cached.tokens.get(ACCESS))
    await settle()
    info = await stored(cached.other, value="w")
    if heard == "row":
        cached.rows.row_changed("ann", info.value_id.hex[:8])
    elif heard == "tenant":
        cached.rows.tenants_changed(lambda _: True)
    else:
        cached.rows.anything_changed()
    cached.store_reads.gate.set()
    assert (await reading).value.reveal() == "v"
    assert await read(cached) == ("w", True)


async def test_a_new_value_that_is_heard_while_it_is_read_is_remembered(cached):
    info = await stored(cached.other)
    cached.store_reads = cached.reader._accounts = Late(cached.store.accounts)
    reading = asyncio.create_task(cached.tokens.get(ACCESS))
    await settle()
    cached.rows.row_changed("ann", info.value_id.hex[:8])
    cached.store_reads.gate.set()
    await reading
    assert await read(cached) == ("v", False)


async def test_the_marks_of_forgotten_rows_are_forgotten(cached):
    cached.rows._size = 3
    for number in range(10):
        await stored(cached, Account("t1", "google", str(number)).key(TokenKind.API_KEY))
    assert sorted(cached.rows._marked) == ["7", "8", "9"]


async def test_rows_that_are_used_stay_longer(cached):
    cached.rows._size = 3
    keys = [Account("t1", "google", str(number)).key(TokenKind.API_KEY) for number in range(6)]
    for key in keys:
        await stored(cached, key)
        await read(cached, keys[0])
    assert [await read(cached, key) for key in (keys[0], keys[5])] == [("v", False)] * 2
    assert await read(cached, keys[3]) == ("v", True)


async def test_what_is_at_hand_is_handed_out_without_waiting_and_counts_as_a_read(cached):
    await stored(cached.other, expires_at=cached.clock.now() + HOUR)
    assert (cached.tokens.at_hand(ACCESS), cached.refreshing.at_hand(ACCOUNT)) == (None, None)
    await read(cached)
    counts, before = cached.reader.counts, cached.reader.counts.cache
    assert cached.tokens.at_hand(ACCESS).value.reveal() == "v"
    assert cached.refreshing.at_hand(ACCOUNT).value.reveal() == "v"
    assert (cached.store_reads.reads, counts.cache) == (1, before + 2)


async def test_what_is_handed_out_at_once_counts_as_used(cached):
    info = await stored(cached)
    cached.tokens.at_hand(ACCESS)
    await cached.uses.flush()
    assert (await cached.store.accounts.get(ACCESS)).row.info.last_used_at == cached.clock.now()
    assert info.last_used_at is None


async def test_what_is_handed_out_at_once_is_recorded_once_a_minute(cached):
    await stored(cached)
    recorded = []
    for seconds in (0, 59, 1, 30, 31):
        cached.clock.advance(seconds * SECOND)
        cached.rows._cache_seconds = HOUR.total_seconds()
        cached.tokens.at_hand(ACCESS)
        await cached.uses.flush()
        recorded.append(cached.clock.now() - (await cached.store.accounts.get(ACCESS)).row.info.last_used_at)
    assert recorded == [0 * SECOND, 59 * SECOND, 0 * SECOND, 30 * SECOND, 0 * SECOND]


async def test_a_use_that_another_one_stands_for_is_recorded_as_soon_as_it_may_be(cached):
    """The read at 0 s records a use for the next 60 s; the answer from the cache at 30 s does not extend this time."""
    await stored(cached)
    cached.rows._cache_seconds = HOUR.total_seconds()
    await cached.tokens.get(ACCESS, fresh=True)
    for seconds in (30, 31):
        cached.clock.advance(seconds * SECOND)
        cached.tokens.at_hand(ACCESS)
    await cached.uses.flush()
    assert (await cached.store.accounts.get(ACCESS)).row.info.last_used_at == cached.clock.now()


async def test_a_use_after_the_store_told_the_row_again_is_recorded(cached):
    await stored(cached)
    cached.rows._cache_seconds = 2 * HOUR.total_seconds()
    cached.clock.advance(HOUR / 2)  # the test's clock runs ahead of the monotonic one
    cached.tokens.at_hand(ACCESS)
    await cached.tokens.get(ACCESS, fresh=True)
    cached.clock.advance(120 * SECOND)
    cached.tokens.at_hand(ACCESS)
    await cached.uses.flush()
    assert (await cached.store.accounts.get(ACCESS)).row.info.last_used_at == cached.clock.now()


async def test_a_change_that_the_watch_reports_when_asked_counts_for_this_read(cached):
    await stored(cached)

    class Late(Watch):
        def is_current(self):
            cached.rows.row_changed("ann", "")
            return True

    assert cached.tokens.at_hand(ACCESS) is not None
    cached.watch.is_current = Late().is_current
    assert cached.tokens.at_hand(ACCESS) is None


async def test_a_use_is_not_computed_twice_within_a_minute(cached):
    await stored(cached)
    record, recorded = cached.uses.record, []
    cached.uses.record = lambda info, now: recorded.append(now) or record(info, now)
    for _ in range(3):
        cached.tokens.at_hand(ACCESS)
    assert len(recorded) == 1


async def test_a_use_that_another_one_stands_for_is_not_computed_for_each_answer(cached):
    await stored(cached)
    await cached.tokens.get(ACCESS, fresh=True)
    record, recorded = cached.uses.record, []
    cached.uses.record = lambda info, now: recorded.append(now) or record(info, now)
    for _ in range(3):
        cached.tokens.at_hand(ACCESS)
    assert len(recorded) == 1


async def test_a_value_is_not_unlocked_again_each_time_it_is_handed_out(cached):
    await stored(cached)
    made = [cached.cipher.opening(ACCESS, cached.rows._rows[scope_of_key(ACCESS)].token.sealed)]
    cached.cipher.opening = lambda key, sealed: made.pop()
    assert [cached.tokens.at_hand(ACCESS).value.reveal() for _ in range(3)] == ["v"] * 3
    assert made == []


async def test_a_value_whose_opening_has_ended_is_unlocked_again(cached):
    await stored(cached)
    assert cached.tokens.at_hand(ACCESS).value.reveal() == "v"
    cached.rows._rows[scope_of_key(ACCESS)].opening = lambda: None
    assert cached.tokens.at_hand(ACCESS).value.reveal() == "v"


async def test_a_new_value_is_not_opened_by_the_opening_of_the_old_one(cached):
    await stored(cached)
    assert cached.tokens.at_hand(ACCESS).value.reveal() == "v"
    await cached.writing.store([TokenDraft(ACCESS, Secret("new"), expires_at=None)], actor=None)
    assert cached.tokens.at_hand(ACCESS).value.reveal() == "new"


async def test_a_row_that_the_store_tells_again_stays_fresh_as_long_as_its_expiry_says(cached):
    """The time for which a row stays fresh counts from the store's last answer; a later answer leaves less time."""
    await cached.connect(lifetime=3600)
    cached.rows._cache_seconds = 2 * HOUR.total_seconds()
    assert cached.refreshing.at_hand(ACCOUNT) is not None
    cached.clock.advance(HOUR / 2)
    await cached.tokens.get(ACCESS, fresh=True)
    cached.clock.advance(HOUR / 2 - 5 * 60 * SECOND - timedelta(microseconds=1))
    assert cached.refreshing.at_hand(ACCOUNT) is not None
    cached.clock.advance(timedelta(microseconds=1))
    assert cached.refreshing.at_hand(ACCOUNT) is None


async def test_extra_members_are_at_hand_with_their_token(cached):
    answer = TokenSet("access-1", "refresh-1", expires_in=3600, extra={"instance_url": "https://eu.example.com"})
    await cached.accounts.store_set(ACCOUNT, answer, label=None, actor=None)
    assert dict(cached.tokens.at_hand(ACCESS).extra) == {"instance_url": "https://eu.example.com"}


async def test_a_token_that_is_due_is_at_hand_for_a_reader_and_not_for_one_who_wants_it_refreshed(cached):
    await cached.connect(lifetime=120)
    cached.clock.advance(90 * SECOND)
    cached.rows._cache_seconds = HOUR.total_seconds()
    before = cached.reader.counts.cache
    assert cached.refreshing.at_hand(ACCOUNT) is None
    assert cached.reader.counts.cache == before
    assert cached.tokens.at_hand(ACCESS).value.reveal() == "access-0"


async def test_nothing_is_at_hand_if_a_refresh_ends_the_old_token_or_while_an_answer_waits(cached):
    await stored(cached)
    dying = cached.over(refreshers={"google": OldTokenDies()})
    await stored(dying)
    assert dying.tokens.at_hand(ACCESS) is not None
    assert dying.refreshing.at_hand(ACCOUNT) is None
    cached.held.waiting[OTHER.account] = object()
    assert (cached.tokens.at_hand(ACCESS), cached.refreshing.at_hand(ACCOUNT)) == (None, None)


async def test_a_value_that_does_not_decrypt_is_left_to_the_read_that_reports_it(cached):
    await stored(cached)
    row = cached.rows._rows[scope_of_key(ACCESS)]
    row.token = evolve(row.token, sealed=evolve(row.token.sealed, blob=b"changed"))
    before = cached.reader.counts.cache
    assert (cached.tokens.at_hand(ACCESS), cached.refreshing.at_hand(ACCOUNT)) == (None, None)
    assert cached.reader.counts.cache == before


async def test_a_remembered_row_of_another_key_is_not_handed_out(cached):
    await stored(cached)
    row = cached.rows._rows[scope_of_key(ACCESS)]
    sealed = (await cached.cipher.seal([(ACCESS, Secret("theirs"))]))[0]
    row.token = evolve(row.token, sealed=sealed, info=evolve(row.token.info, key=OTHER))
    assert cached.tokens.at_hand(ACCESS) is None
