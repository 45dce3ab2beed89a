"""A broken journal is told before an outage of the database needs it, and it is used again as soon as it works."""

import asyncio
import os
import stat
from contextlib import ExitStack

import pytest
from attrs import evolve
from tests.adapters.refresh.broken import BrokenSqlite, no_file_may_grow
from tests.adapters.refresh.refresh_kit import ACCOUNT, HOUR, answer, eventually, failure, store, stored
from tests.support.processes import Call, run_processes
from tests.support.timing import refresh_times

from vault_adapters import Account, RefreshNotPersistedError, Tuning, open_vault
from vault_adapters.runtime.journal import FileJournal
from vault_adapters.runtime.journal_files import try_directory
from vault_adapters.testing import ScriptedRefresher

NOBODY = 65534


@pytest.fixture
def journal_dir(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def config(sqlite_config, journal_dir):
    return evolve(sqlite_config, journal_dir=journal_dir)


def told(caplog):
    return [record.getMessage() for record in caplog.records if "journal" in record.getMessage()]


async def test_a_full_disk_is_told_once_while_the_database_is_well(postgres_config, journal_dir, clock, caplog):
    """On Postgres, because the limit of this process's files does not limit those of the server."""
    config = evolve(postgres_config, journal_dir=journal_dir)
    refresher = ScriptedRefresher(*map(answer, range(1, 5)))
    async with open_vault(config, refreshers={"acme": refresher}, clock=clock) as vault:
        await store(vault)
        assert (await vault.ready()).journal is None
        with no_file_may_grow():
            for _ in range(2):
                clock.advance(HOUR)
                await vault.refresh_account(ACCOUNT)
            ready = await vault.ready()
        assert (ready.ok, ready.journal) == (True, "efbig")
        assert [line.endswith("fails: efbig") for line in told(caplog)] == [True]
        assert (await vault.ready()).journal is None
    assert "works again" in told(caplog)[-1]
    assert len(told(caplog)) == 2


async def test_a_removed_directory_is_created_again(config, clock, journal_dir, caplog):
    refresher = ScriptedRefresher(answer(1))
    async with open_vault(config, refreshers={"acme": refresher}, clock=clock) as vault:
        await store(vault)
        journal_dir.rmdir()
        clock.advance(HOUR)
        await vault.ensure_access_token(ACCOUNT)
        assert told(caplog) == ["journal_dir was missing, and was created again; the entries in it are gone"]
        assert stat.S_IMODE(journal_dir.stat().st_mode) == 0o700
        journal_dir.rmdir()
        assert (await vault.ready()).journal is None
        assert journal_dir.is_dir()


async def test_a_directory_that_cannot_be_created_again_is_told(config, clock, journal_dir):
    async with open_vault(config, clock=clock) as vault:
        journal_dir.rmdir()
        journal_dir.write_text("")
        ready = await vault.ready()
        assert (ready.ok, ready.journal) == (True, "enotdir")


def try_as_nobody(directory):
    os.seteuid(NOBODY)
    try:
        return try_directory(directory)
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_a_lack_of_permission_has_its_cause(journal_dir):
    FileJournal(journal_dir)
    assert await asyncio.to_thread(run_processes, [Call(try_as_nobody, [str(journal_dir)])]) == ["permission_denied"]


async def test_a_file_that_has_not_got_its_name_yet_is_read_at_the_next_start(config, clock, journal_dir):
    """The process was killed between the sync of the file and its renaming."""
    database = BrokenSqlite(config)

    async def answer_without_database(request):
        database.down()
        return answer(1)

    refreshers = {"acme": ScriptedRefresher(answer_without_database)}
    async with open_vault(config, refreshers=refreshers, clock=clock) as vault:
        await store(vault)
        clock.advance(HOUR)
        await vault.ensure_access_token(ACCOUNT)
    database.up()
    [path] = journal_dir.iterdir()
    path = path.rename(path.with_suffix(".tmp"))
    half = journal_dir / f"{'f' * 32}.refresh.tmp"
    half.write_bytes(path.read_bytes()[:100])
    async with open_vault(config, clock=clock) as vault:
        assert await stored(vault) == {"access_token": "access-1", "refresh_token": "refresh-1"}
    assert list(journal_dir.iterdir()) == [half]


async def test_journaling_again_does_not_wait_for_commits_that_hang(config, clock, journal_dir):
    database, trouble = BrokenSqlite(config), ExitStack()
    accounts = [Account(f"t{number}", "acme") for number in range(100)]
    asked, all_asked = [], asyncio.Event()

    async def answer_in_trouble(request):
        asked.append(request.account)
        if len(asked) == len(accounts):
            database.down()
            trouble.enter_context(no_file_may_grow())
            all_asked.set()
        await all_asked.wait()
        return answer(1)

    refresher = ScriptedRefresher(*[answer_in_trouble] * len(accounts))
    config = evolve(config, tuning=Tuning(provider_concurrency=1000))
    # Ten commits at a time, each waited for during half of the budget, take 15 s for all answers.
    with trouble, refresh_times(commit_budget=3):
        async with open_vault(config, refreshers={"acme": refresher}, clock=clock) as vault:
            for account in accounts:
                await store(vault, account=account)
            clock.advance(HOUR)
            calls = [failure(vault.ensure_access_token(account)) for account in accounts]
            assert {type(error) for error in await asyncio.gather(*calls)} == {RefreshNotPersistedError}
            database.lock()  # from now on, commits hang
            trouble.close()

            async def is_journaled():
                return len(list(journal_dir.iterdir())) == len(accounts)

            await eventually(is_journaled, 12)
            assert vault.measures.counts().answers_waiting == len(accounts)
            database.unlock()
            database.up()


@pytest.mark.parametrize("kind", ["a link", "open to others"])
async def test_a_directory_that_somebody_has_replaced_takes_no_file(config, clock, journal_dir, tmp_path, kind):
    database, elsewhere = BrokenSqlite(config), tmp_path / "elsewhere"

    async def answer_without_database(request):
        database.down()
        return answer(1)

    async with open_vault(
        config, refreshers={"acme": ScriptedRefresher(answer_without_database)}, clock=clock
    ) as vault:
        await store(vault)
        journal_dir.rmdir()
        elsewhere.mkdir()
        elsewhere.chmod(0o700 if kind == "a link" else 0o755)
        journal_dir.symlink_to(elsewhere) if kind == "a link" else elsewhere.rename(journal_dir)
        assert (await vault.ready()).journal is not None
        clock.advance(HOUR)
        with pytest.raises(RefreshNotPersistedError):
            await vault.ensure_access_token(ACCOUNT)
        assert list(journal_dir.iterdir()) == []
        database.up()
