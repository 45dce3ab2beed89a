"""A store that gives rows a version is told which row the reader remembers, and need not read that row again."""

import asyncio

import pytest
from attrs import evolve
from tests.services.conftest import ACCESS, HOUR, REFRESH
from tests.services.fakes import settle
from tests.services.test_cached_reads import Watch
from tests.services.test_remembered import SECOND, remembered, stored, without

from vault_adapters import Account, StorageError, TokenKind
from vault_adapters.runtime.tasks import AsyncioTasks
from vault_domain.entities.token import StoredToken
from vault_domain.services.tokens.reading import RowReader

OTHER, THIRD = (Account("t1", "google", name).key(TokenKind.ACCESS_TOKEN) for name in ("bob", "carol"))


class Versioned:
    """A repository whose rows have versions; it notes the row that each reader remembers."""

    def __init__(self, right):
        self._right = right
        self.known, self.versions, self.gate = [], [], None

    async def get(self, key, known=None):
        self.known.append(known)
        reading = await self._right.get(key)
        if self.gate is not None:
            await self.gate.wait()
        if reading.row is None:
            return reading
        if known == reading.row:
            return evolve(reading, row=known)
        self.versions.append(len(self.versions))
        return evolve(reading, row=evolve(reading.row, version=self.versions[-1]))

    def __getattr__(self, name):
        return getattr(self._right, name)


@pytest.fixture
async def versioned(cases):
    """Give the use cases over such a store, with a token that was read once."""
    await stored(cases)
    cases.reader._accounts = cases.versioned = Versioned(cases.store.accounts)
    await cases.tokens.get(ACCESS)
    cases.versioned.known.clear()
    return cases


async def test_a_reader_names_the_row_that_it_remembers(versioned):
    assert (await versioned.tokens.get(ACCESS)).value.reveal() == "v"
    [known] = versioned.versioned.known
    assert isinstance(known, StoredToken)
    assert known.version == 0
    assert versioned.rows.stale(ACCESS).row is known


async def test_a_row_without_a_version_is_not_named(cases):
    await stored(cases)
    cases.reader._accounts = store = Versioned(cases.store.accounts)
    await cases.tokens.get(ACCESS)  # it remembers the row that was stored, which has no version
    assert store.known == [None]


async def test_a_fresh_read_names_no_row(versioned):
    await versioned.tokens.get(ACCESS, fresh=True)
    assert versioned.versioned.known == [None]


async def test_a_refresh_token_is_not_named(versioned):
    await stored(versioned, REFRESH)
    for _ in range(2):
        await versioned.tokens.get(REFRESH)
    assert versioned.versioned.known == [None, None]


async def test_a_row_that_another_process_changed_is_read(versioned):
    await stored(versioned.over(), value="w")
    assert (await versioned.tokens.get(ACCESS)).value.reveal() == "w"
    assert await remembered(versioned) == "w"


async def test_a_confirmed_row_counts_from_then(versioned):
    for _ in range(3):
        versioned.clock.advance(500 * SECOND)
        await versioned.tokens.get(ACCESS)
    versioned.clock.advance(500 * SECOND)
    assert await remembered(versioned) == "v"  # serve_stale is 600 seconds


async def test_a_row_that_was_refused_while_it_was_confirmed_is_not_remembered(versioned):
    info = versioned.rows.stale(ACCESS).row.info
    versioned.versioned.gate = asyncio.Event()
    reading = asyncio.create_task(versioned.tokens.get(ACCESS))
    await settle()
    versioned.tokens.refuse(info)
    versioned.versioned.gate.set()
    await reading
    assert versioned.rows.stale(ACCESS) is None


async def test_a_row_whose_write_failed_while_it_was_confirmed_is_not_remembered(versioned):
    versioned.versioned.gate = asyncio.Event()
    reading = asyncio.create_task(versioned.tokens.get(ACCESS))
    await settle()

    async def lost():
        raise StorageError("lost", retryable=True)

    with pytest.raises(StorageError):
        await versioned.rows.write(lost(), keys=[ACCESS])
    versioned.versioned.gate.set()
    await reading
    assert versioned.rows.stale(ACCESS) is None
    await versioned.tokens.get(ACCESS)
    assert versioned.versioned.known[-1] is None
    assert versioned.rows.stale(ACCESS) is None  # the write may still take effect


async def test_a_row_from_before_a_watch_is_heard_of_once_it_was_confirmed(versioned):
    versioned.rows.watch_by(Watch())
    await versioned.tokens.get(ACCESS)
    versioned.rows.row_changed(Watch().mark(ACCESS), "")
    assert versioned.rows.stale(ACCESS) is None


async def test_a_confirmed_row_is_not_the_first_to_leave(versioned):
    await stored(versioned, OTHER)
    versioned.rows._size = 2
    await versioned.tokens.get(ACCESS)
    await stored(versioned, THIRD)
    assert versioned.rows.stale(ACCESS) is not None
    assert versioned.rows.stale(OTHER) is None


async def test_an_earlier_confirmation_does_not_overwrite_a_later_one(versioned):
    row, early = versioned.rows.known(ACCESS), versioned.rows.begin()
    await versioned.tasks.sleep(500)
    await versioned.tokens.get(ACCESS)
    versioned.rows.confirm(row, versioned.clock.now() - 500 * SECOND, early)
    versioned.clock.advance(500 * SECOND)
    assert await remembered(versioned) == "v"


async def test_a_token_that_has_expired_meanwhile_is_not_served_although_its_row_was_confirmed(cases):
    await stored(cases, expires_at=cases.clock.now() + HOUR)
    cases.reader._accounts = Versioned(cases.store.accounts)
    await cases.tokens.get(ACCESS)
    assert cases.rows.stale(ACCESS) is not None
    cases.clock.advance(HOUR - SECOND)
    await cases.tokens.get(ACCESS)
    cases.clock.advance(SECOND)
    without(cases)
    with pytest.raises(StorageError):
        await cases.tokens.get(ACCESS)


async def test_while_a_read_is_overdue_further_readers_ask_memory_only(versioned):
    store, tasks = versioned.versioned, AsyncioTasks()
    reader = RowReader(store, versioned.rows, versioned.held, tasks)
    store.gate = asyncio.Event()
    assert (await reader.read(ACCESS, patience=0.01)).is_stale
    asked = len(store.known)
    for _ in range(3):
        assert (await asyncio.wait_for(reader.read(ACCESS, patience=60), 10)).is_stale
    assert len(store.known) == asked
    store.gate.set()
    await tasks.drain(10)
    assert not (await reader.read(ACCESS)).is_stale
    assert len(store.known) == asked + 1
