"""A read of a remembered token asks for the file's version, and reads the row again only if the version is another."""

import asyncio
import sqlite3

import pytest
from tests.adapters.postgres.samples import ACCESS, REFRESH, prepare, write

from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_domain.entities.token import WRONG_ROW, DamagedToken

ABSENT = ACCESS.account.key("api_key")


@pytest.fixture
async def store(tmp_path):
    """Give a store on a file; its tenant has two tokens."""
    async with open_sqlite_store(str(tmp_path / "vault.db"), migrate=True, clock=None) as opened:
        await prepare(opened)
        await opened.accounts.store([write(), write(REFRESH, b"other")], actor=None)
        yield opened


@pytest.fixture
def asked(store, monkeypatch):
    """Give a list of the rows that each query of the store returns from now on."""
    found, database = [], store.accounts._database
    fetch = database.fetch

    async def noting(sql, parameters=None):
        found.append(await fetch(sql, parameters))
        return found[-1]

    monkeypatch.setattr(database, "fetch", noting)
    return found


@pytest.fixture
def elsewhere(store):
    """Give a function that runs a statement on another connection, as another process does."""
    connection = sqlite3.connect(store.path, isolation_level=None)
    yield connection.execute
    connection.close()


async def test_a_row_is_not_read_again_while_nothing_was_written(store, asked):
    known = (await store.accounts.get(ACCESS)).row
    before = (await store.accounts.get(ACCESS)).now
    asked.clear()
    again = await store.accounts.get(ACCESS, known)
    assert again.row is known
    assert again.now > before
    assert asked == [[(known.version,)]]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE token_vault_token SET blob = x'01'",
        "UPDATE token_vault_token SET status = 'invalid'",
        "INSERT INTO token_vault_token_use SELECT tenant_id, provider, kind, identifier, 1 FROM token_vault_token",
        "DELETE FROM token_vault_token",
    ],
)
@pytest.mark.parametrize("together", [False, True])
async def test_a_row_that_another_process_changed_is_read(store, elsewhere, change, together):
    keys = [ACCESS, REFRESH] if together else [ACCESS]
    known = [(await store.accounts.get(key)).row for key in keys]
    elsewhere(change)
    found = await asyncio.gather(*map(store.accounts.get, keys, known))
    for key, row, reading in zip(keys, known, found, strict=True):
        assert reading.answer != row
        assert reading.answer == (await store.accounts.get(key)).answer


async def test_a_row_from_before_the_version_that_another_read_saw_is_read_at_once(store, elsewhere, asked):
    known = (await store.accounts.get(ACCESS)).row
    elsewhere("UPDATE token_vault_token SET blob = x'01'")
    await store.accounts.get(REFRESH)
    asked.clear()
    assert (await store.accounts.get(ACCESS, known)).row.sealed.blob == b"\1"
    assert len(asked) == 1


async def test_all_rows_are_read_if_one_of_them_is_unknown(store, asked):
    known = (await store.accounts.get(ACCESS)).row
    other = (await store.accounts.get(REFRESH)).row
    asked.clear()
    readings = await asyncio.gather(
        *(
            store.accounts.get(key, row)
            for key, row in [(ACCESS, known), (ABSENT, None), (REFRESH, None), (ACCESS, known)]
        )
    )
    assert [reading.row for reading in readings] == [known, None, other, known]
    assert len(asked) == 1


async def test_reads_that_share_the_question_each_get_their_own_row(store, asked):
    known = [(await store.accounts.get(key)).row for key in (ACCESS, REFRESH)]
    asked.clear()
    readings = await asyncio.gather(
        *map(store.accounts.get, (REFRESH, ACCESS, REFRESH), (known[1], known[0], known[1]))
    )
    assert [reading.row for reading in readings] == [known[1], known[0], known[1]]
    assert [len(rows) for rows in asked] == [1]


async def test_a_second_row_of_a_remembered_key_is_noticed(store, elsewhere):
    known = (await store.accounts.get(ACCESS)).row
    columns = [name for _, name, *_ in elsewhere("PRAGMA table_info(token_vault_token)").fetchall()]
    elsewhere("PRAGMA foreign_keys = OFF")
    elsewhere("ALTER TABLE token_vault_token RENAME TO sound")
    elsewhere(f"CREATE TABLE token_vault_token ({', '.join(columns)})")
    for _ in range(2):
        elsewhere("INSERT INTO token_vault_token SELECT * FROM sound")
    assert (await store.accounts.get(ACCESS, known)).answer == DamagedToken(ACCESS, WRONG_ROW)


async def test_rows_in_memory_have_no_version():
    """The connection that reads is also the one that writes there, and its own writes would not change the version."""
    async with open_sqlite_store(":memory:", migrate=True, clock=None) as store:
        await prepare(store)
        await store.accounts.store([write()], actor=None)
        known = (await store.accounts.get(ACCESS)).row
        assert known.version is None
        await store.accounts.store([write(blob=b"changed")], actor=None)
        assert (await store.accounts.get(ACCESS, known)).row.sealed.blob == b"changed"
