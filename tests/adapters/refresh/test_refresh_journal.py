"""The database fails between the provider's answer and the commit; no answer is lost without an error."""

import asyncio
import json
import os
import shutil
import sqlite3
import stat
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from uuid import UUID

import pytest
from attrs import evolve
from tests.adapters.refresh.broken import BrokenSqlite, no_file_may_grow
from tests.adapters.refresh.refresh_kit import (
    ACCOUNT,
    HOUR,
    MINUTE,
    answer,
    eventually,
    failure,
    is_connected,
    make_config,
    store,
    stored,
)
from tests.adapters.refresh.stepping import SteppedStore, Steps
from tests.services.fakes import Failing
from tests.support.processes import Call, run_processes
from tests.support.timing import refresh_times

from vault_adapters import (
    Account,
    ConfigurationError,
    ConnectionState,
    MarkOutcome,
    RefreshNotPersistedError,
    Secret,
    StorageError,
    TokenKind,
    TokenSet,
    Tuning,
    open_vault,
)
from vault_adapters.composition import _sources, open_vault_over
from vault_adapters.crypto.bootstrap import open_with_sources
from vault_adapters.crypto.cipher import AesGcmCipher
from vault_adapters.crypto.keyring import Keyring
from vault_adapters.runtime.journal import FileJournal
from vault_adapters.stores.sqlite.store import open_sqlite_store
from vault_adapters.testing import ManualClock, ScriptedRefresher
from vault_domain.ports.journal import JournalError
from vault_domain.services.refresh.journal_seal import seal_entry

NEW = {"access_token": "access-1", "refresh_token": "refresh-1"}


@pytest.fixture(scope="module", autouse=True)
def short_commits():
    """Shorten the time that a commit may take, because tests here wait for that time while their database is away."""
    with refresh_times(commit_budget=1):
        yield


@pytest.fixture
def journal_dir(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def config(sqlite_config, journal_dir):
    return evolve(sqlite_config, journal_dir=journal_dir)


@pytest.fixture
def database(config):
    return BrokenSqlite(config)


def refresher_that(do, *more):
    async def act_then_answer(request):
        do()
        return answer(1)

    return ScriptedRefresher(act_then_answer, *more)


def opened_over(config, clock, refresher=None):
    return open_vault(config, refreshers={"acme": refresher or ScriptedRefresher()}, clock=clock)


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory):
    """A database and a journal, left by a process whose database stayed away until the process ended."""
    directory = tmp_path_factory.mktemp("left")
    config = make_config(f"sqlite:///{directory}/vault.db", journal_dir=directory / "journal")
    database, clock = BrokenSqlite(config), ManualClock()

    async def leave():
        async with opened_over(config, clock, refresher_that(database.down)) as vault:
            await store(vault)
            clock.advance(HOUR)
            await vault.ensure_access_token(ACCOUNT)

    asyncio.run(leave())
    database.up()
    with closing(sqlite3.connect(directory / "vault.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM token_vault_home")  # a copy is at home where it is opened first
    return directory


@pytest.fixture
def drained(left_behind, tmp_path, clock):
    """Copy the database and the journal that were left behind into this test's directory."""
    shutil.copytree(left_behind, tmp_path, dirs_exist_ok=True)
    clock.advance(HOUR)


@asynccontextmanager
async def cipher_over(config, clock):
    """Open the vault's database and give its cipher."""
    path = config.database_url.reveal().removeprefix("sqlite:///")
    async with open_sqlite_store(path, migrate=True, clock=clock.now) as below:
        keyring = Keyring(below.keys, await open_with_sources(below.keys, _sources(config)))
        yield AesGcmCipher(keyring)
        await keyring.aclose()


def files(directory):
    return sorted(path.name for path in directory.iterdir())


# With a journal


async def test_the_answer_is_journaled_returned_and_committed_later(config, clock, database, journal_dir):
    refresher = refresher_that(database.down)
    async with opened_over(config, clock, refresher) as vault:
        await store(vault)
        clock.advance(HOUR)
        token = await vault.ensure_access_token(ACCOUNT)
        assert token.value.reveal() == "access-1"
        assert token.info.generation == 0  # nobody knows which number it will get
        [path] = journal_dir.iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(journal_dir.stat().st_mode) == 0o700
        text = path.read_text()
        assert not [part for part in ("access-1", "refresh-1", "access-0", "refresh-0") if part in text]
        # While the database is away, callers get the token, and the provider is not asked again.
        assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
        database.up()

        async def is_drained():
            return not files(journal_dir)

        await eventually(is_drained)
        assert await stored(vault) == NEW
        found = await vault.ensure_access_token(ACCOUNT)
        assert (found.info.id, found.info.value_id) == (token.info.id, token.info.value_id)
        assert found.info.generation == 2
        assert await is_connected(vault)
    assert len(refresher.calls) == 1


async def test_a_mark_on_a_waiting_answer_does_not_hit_what_the_user_stored_meanwhile(config, clock, database):
    refresher = refresher_that(database.down)
    async with opened_over(config, clock, refresher) as vault:
        await store(vault)
        clock.advance(HOUR)
        waiting = await vault.ensure_access_token(ACCOUNT)
        async with open_vault(config, clock=clock) as other:
            database.up()
            newer = await other.store_token(ACCOUNT.key(TokenKind.ACCESS_TOKEN), "the user's")
        assert (newer.generation, waiting.info.generation) == (2, 0)
        assert await vault.mark_token_invalid(waiting, "invalid_token") is MarkOutcome.STALE
        assert await stored(vault) == {"access_token": "the user's", "refresh_token": "refresh-1"}


@pytest.mark.usefixtures("drained")
async def test_an_entry_is_on_the_disk_before_it_counts_as_journaled(journal_dir, tmp_path, monkeypatch):
    [entry] = await FileJournal(journal_dir).entries()
    directory = tmp_path / "another"
    journal, synced, fsync = FileJournal(directory), [], os.fsync

    def watched(descriptor):
        number = os.fstat(descriptor).st_ino
        if number == directory.stat().st_ino:
            synced.append(("folder", files(directory)))
        for path in directory.iterdir():
            if number == path.stat().st_ino:
                synced.append((path.suffix, json.loads(path.read_bytes())["version"]))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    await journal.write(entry)
    # First the file with all of its bytes, then the name under which the next process finds it.
    assert synced == [(".tmp", 1), ("folder", files(journal_dir))]
    assert list(await journal.entries()) == [entry]


@pytest.mark.usefixtures("drained")
async def test_the_journal_is_drained_at_start(config, clock, journal_dir, caplog):
    assert len(files(journal_dir)) == 1
    async with opened_over(config, clock) as vault:
        assert "the journal held" not in caplog.text  # nothing is left, so nobody is warned
        assert files(journal_dir) == []
        assert await stored(vault) == NEW
        assert (await vault.ensure_access_token(ACCOUNT)).info.expires_at == clock.now() + HOUR


@pytest.mark.parametrize("later_is", [0, 1])
@pytest.mark.usefixtures("drained")
async def test_of_two_answers_for_one_credential_the_later_one_counts(config, clock, journal_dir, later_is):
    """A provider that does not rotate was asked twice, and the database was away both times."""
    journal = FileJournal(journal_dir)
    [entry] = await journal.entries()
    await journal.remove(entry)
    expiries = [clock.now() + HOUR, clock.now() + 2 * HOUR]
    async with cipher_over(config, clock) as cipher:
        sealer = await cipher.sealer(ACCOUNT.tenant_id)
    for number, expires_at in enumerate(expiries):
        claimed_at = entry.attempt.claimed_at + (MINUTE if number == later_is else timedelta(0))
        attempt = evolve(entry.attempt, attempt_id=UUID(int=number), claimed_at=claimed_at)
        writes = tuple(evolve(write, expires_at=expires_at) for write in entry.writes)
        await journal.write(seal_entry(evolve(entry, attempt=attempt, writes=writes), sealer))
    async with opened_over(config, clock) as vault:
        assert (await vault.get_account(ACCOUNT)).expires_at == expiries[later_is]
        assert await stored(vault) == NEW


@pytest.mark.usefixtures("drained")
async def test_draining_twice_is_draining_once(config, clock, journal_dir):
    [path] = journal_dir.iterdir()
    copy = path.read_bytes()
    for _ in range(2):
        async with opened_over(config, clock) as vault:
            page = await vault.list_tokens(ACCOUNT.tenant_id)
            assert {info.generation for info in page.items} == {2}
        path.write_bytes(copy)


@pytest.mark.usefixtures("drained")
async def test_an_old_entry_does_not_overwrite_what_came_later(config, clock, journal_dir):
    async with opened_over(evolve(config, journal_dir=None), clock) as vault:
        await store(vault, 7)
    async with opened_over(config, clock) as vault:
        assert await stored(vault) == {"access_token": "access-7", "refresh_token": "refresh-7"}
    assert files(journal_dir) == []


@pytest.mark.usefixtures("drained")
async def test_a_deleted_account_stays_deleted(config, clock, journal_dir):
    async with opened_over(evolve(config, journal_dir=None), clock) as vault:
        await vault.delete_account(ACCOUNT)
    async with opened_over(config, clock) as vault:
        assert await stored(vault) == {}
    assert files(journal_dir) == []


async def open_and_close(url, directory, seconds):
    clock = ManualClock()
    clock.advance(timedelta(seconds=seconds))
    async with opened_over(make_config(url, journal_dir=directory), clock) as vault:
        return await stored(vault)


@pytest.mark.usefixtures("drained")
async def test_two_processes_drain_at_once(config, clock, journal_dir):
    jobs = [Call(open_and_close, [config.database_url.reveal(), str(journal_dir), 3600])] * 3
    assert await asyncio.to_thread(run_processes, jobs) == [NEW] * 3
    assert files(journal_dir) == []
    async with opened_over(config, clock) as vault:
        page = await vault.list_tokens(ACCOUNT.tenant_id)
        assert {info.generation for info in page.items} == {2}


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"version": 0}', "cut", "long"])
@pytest.mark.usefixtures("drained")
async def test_a_damaged_file_is_set_aside(config, clock, journal_dir, caplog, damage):
    [path] = journal_dir.iterdir()
    whole = path.read_bytes()
    if damage == "long":
        damage = json.dumps(json.loads(whole) | {"lease": 1e300}).encode()
    path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else damage)
    async with opened_over(config, clock) as vault:
        assert (await stored(vault))["refresh_token"] == "refresh-0"
    assert files(journal_dir) == [path.name + ".damaged"]
    assert path.name in caplog.text


@pytest.mark.usefixtures("drained")
async def test_a_file_of_a_later_release_stays_for_a_process_of_that_release(config, clock, journal_dir, caplog):
    [path] = journal_dir.iterdir()
    whole = path.read_bytes()
    path.write_bytes(json.dumps(json.loads(whole) | {"version": 3, "unknown": [1]}).encode())
    async with opened_over(config, clock) as vault:
        assert (await stored(vault))["refresh_token"] == "refresh-0"
    assert files(journal_dir) == [path.name]
    assert "a later release wrote it" in caplog.text
    path.write_bytes(whole)
    async with opened_over(config, clock) as vault:
        assert await stored(vault) == NEW


EXTRA = {"instance_url": "https://two.example.com"}


async def left_with_extra(config, clock, database):
    """Let a process end while an answer with extra members waits; return the token that its caller got."""

    async def act_then_answer(request):
        database.down()
        return evolve(answer(1), extra=EXTRA)

    async with opened_over(config, clock, ScriptedRefresher(act_then_answer)) as vault:
        await vault.store_token_set(ACCOUNT, evolve(answer(0), extra={"instance_url": "https://one.example.com"}))
        clock.advance(HOUR)
        token = await vault.ensure_access_token(ACCOUNT)
    database.up()
    return token


async def test_extra_members_wait_with_their_token(config, clock, database, journal_dir):
    token = await left_with_extra(config, clock, database)
    assert (token.value.reveal(), token.extra) == ("access-1", EXTRA)
    [path] = journal_dir.iterdir()
    assert "two.example" not in path.read_text()
    async with opened_over(evolve(config, journal_dir=None), clock) as vault:
        await vault.keys.rotate_data_key(ACCOUNT.tenant_id)  # so the answer must be sealed again before its commit
    async with opened_over(config, clock) as vault:
        found = await vault.ensure_access_token(ACCOUNT)
        assert (found.value.reveal(), found.extra) == ("access-1", EXTRA)
    assert files(journal_dir) == []


async def test_an_entry_without_its_extra_members_is_not_committed(config, clock, database, journal_dir, caplog):
    await left_with_extra(config, clock, database)
    [path] = journal_dir.iterdir()
    data = json.loads(path.read_text())
    assert [write.pop("extra") is not None for write in data["writes"] if "extra" in write] == [True]
    path.write_text(json.dumps(data))
    async with opened_over(config, clock) as vault:
        assert (await stored(vault))["refresh_token"] == "refresh-0"
    assert "changed or forged" in caplog.text


@pytest.mark.usefixtures("drained")
async def test_a_changed_value_is_not_committed(config, clock, journal_dir, caplog):
    [path] = journal_dir.iterdir()
    data = json.loads(path.read_text())
    for write in data["writes"]:
        write["blob"] = write["blob"][:-2] + ("00" if write["blob"][-2:] != "00" else "01")
    path.write_text(json.dumps(data))
    async with opened_over(config, clock) as vault:
        assert (await stored(vault))["refresh_token"] == "refresh-0"
    assert "changed or forged" in caplog.text
    assert files(journal_dir) == [path.name]


FORGERIES = {
    "a later expiry": lambda data: data["writes"][0].update(expires_at="2099-01-01T00:00:00+00:00"),
    "a longer lifetime": lambda data: data["writes"][0].update(lifetime=9e8),
    "more scopes": lambda data: data["writes"][0].update(scopes=["admin"]),
    "another credential": lambda data: data["credential"].__setitem__(3, "00" * 16),
    "another value": lambda data: data["writes"][0].update(value_id="00" * 16),
    "another access token": lambda data: data.update(access=None),
    "a later claim": lambda data: data.update(claimed_at="2031-01-01T00:00:00+00:00"),
    "a longer lease": lambda data: data.update(lease=1e6),
    "another actor": lambda data: data.update(actor="somebody else"),
    "a problem": lambda data: data.update(problem="refresh_token_too_long"),
    "no access token": lambda data: data["writes"].pop(0),
    "no tokens": lambda data: data["writes"].clear(),
    "another account": lambda data: data.update(account=["t1", "acme", "bob@example.com"]),
    "no seal": lambda data: data.update(seal=None),
    "another key's seal": lambda data: data["seal"].update(data_key_id="00" * 16),
    "a seal that is a token's value": lambda data: data.update(seal={k: data["writes"][1][k] for k in data["seal"]}),
}


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.usefixtures("drained")
async def test_a_forged_entry_changes_nothing(config, clock, journal_dir, caplog, forgery):
    async with opened_over(evolve(config, journal_dir=None), clock) as vault:
        before = await vault.get_account(ACCOUNT), [info async for info in vault.iter_tokens(ACCOUNT.tenant_id)]
    [path] = journal_dir.iterdir()
    data = json.loads(path.read_text())
    FORGERIES[forgery](data)
    path.write_text(json.dumps(data))
    async with opened_over(config, clock) as vault:
        after = await vault.get_account(ACCOUNT), [info async for info in vault.iter_tokens(ACCOUNT.tenant_id)]
        assert after == before
    assert files(journal_dir) == [path.name]
    assert "an entry stays in the journal" in caplog.text


@pytest.mark.usefixtures("drained")
async def test_tokens_that_open_do_not_hide_behind_a_seal_whose_key_is_destroyed(config, clock, journal_dir, caplog):
    async with opened_over(evolve(config, journal_dir=None), clock) as vault:
        await vault.keys.rotate_data_key(ACCOUNT.tenant_id)
        await vault.keys.reencrypt()
        clock.advance(25 * HOUR)
        assert (await vault.keys.reencrypt()).destroyed == 1
    connection = sqlite3.connect(config.database_url.reveal().removeprefix("sqlite:///"))
    rows = connection.execute("SELECT hex(data_key_id), hex(blob) FROM token_vault_token ORDER BY kind").fetchall()
    connection.close()
    [path] = journal_dir.iterdir()
    data = json.loads(path.read_text())
    for write, (data_key_id, blob) in zip(data["writes"], rows, strict=True):
        write.update(data_key_id=data_key_id, blob=blob, expires_at="2099-01-01T00:00:00+00:00")
    path.write_text(json.dumps(data))
    async with opened_over(config, clock) as vault:
        assert {info.generation for info in (await vault.list_tokens(ACCOUNT.tenant_id)).items} == {1}
    assert "changed or forged" in caplog.text
    assert files(journal_dir) == [path.name]


@pytest.mark.usefixtures("drained")
async def test_a_forged_entry_does_not_stand_before_a_genuine_one(config, clock, journal_dir):
    [path] = journal_dir.iterdir()
    data = json.loads(path.read_text())
    data |= {"attempt_id": "f" * 32, "claimed_at": "2031-01-01T00:00:00+00:00"}
    forged = journal_dir / f"{'f' * 32}.refresh.json"
    forged.write_text(json.dumps(data))
    async with opened_over(config, clock) as vault:
        assert await stored(vault) == NEW
    assert files(journal_dir) == [forged.name]


@pytest.mark.usefixtures("drained")
async def test_an_old_entry_that_is_put_back_rolls_nothing_back(config, clock, journal_dir):
    [path] = journal_dir.iterdir()
    copy = path.read_bytes()
    async with opened_over(config, clock, ScriptedRefresher(answer(2))) as vault:
        await vault.refresh_account(ACCOUNT)
    path.write_bytes(copy)
    async with opened_over(config, clock) as vault:
        assert await stored(vault) == {"access_token": "access-2", "refresh_token": "refresh-2"}


async def test_a_spent_credential_is_marked_when_the_answer_is_committed_later(config, clock, database, journal_dir):
    async def answer_with_too_much(request):
        database.down()
        return TokenSet("access-1", expires_in=HOUR, refresh_token_problem="refresh_token_too_long")

    async with opened_over(config, clock, ScriptedRefresher(answer_with_too_much)) as vault:
        await store(vault)
        clock.advance(HOUR)
        assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
    database.up()
    async with opened_over(config, clock) as vault:
        account = await vault.get_account(ACCOUNT)
        assert (account.state, account.reason) == (
            ConnectionState.REAUTHORIZATION_REQUIRED,
            "refresh_token_too_long",
        )
        assert (await stored(vault))["access_token"] == "access-1"
    assert files(journal_dir) == []


def make_pipe(path, whole):
    os.mkfifo(path)


def make_link(path, whole):
    target = path.parent.parent / "target.json"
    target.write_bytes(whole)
    path.symlink_to(target)


def make_directory(path, whole):
    path.mkdir()


def make_large(path, whole):
    path.write_bytes(whole + b" " * 5 * 1024 * 1024)


@pytest.mark.parametrize("make", [make_pipe, make_link, make_directory, make_large])
@pytest.mark.usefixtures("drained")
async def test_a_file_of_a_wrong_form_stays_and_is_told_once(config, clock, journal_dir, caplog, make):
    [path] = journal_dir.iterdir()
    whole = path.read_bytes()
    path.unlink()
    make(path, whole)
    async with asyncio.timeout(20), opened_over(config, clock) as vault:
        assert (await stored(vault))["refresh_token"] == "refresh-0"
    assert files(journal_dir) == [path.name]
    assert caplog.text.count(path.name) == 1
    journal = FileJournal(journal_dir)
    assert [await journal.entries(), await journal.entries()] == [[], []]
    assert caplog.text.count(path.name) == 2  # once by each journal


@pytest.mark.usefixtures("drained")
async def test_an_entry_under_another_name_is_left_alone(config, clock, journal_dir, caplog):
    [path] = journal_dir.iterdir()
    renamed = path.rename(path.with_name("copy.refresh.json"))
    async with opened_over(config, clock) as vault:
        assert (await stored(vault))["refresh_token"] == "refresh-0"
    assert files(journal_dir) == [renamed.name]
    assert renamed.name in caplog.text


@pytest.mark.usefixtures("drained")
async def test_a_file_name_cannot_forge_a_line_of_the_log(config, clock, journal_dir, caplog):
    for name in ("x\nERROR all is lost\x1b[31m.refresh.json", os.fsdecode(b"\xff.refresh.json")):
        (journal_dir / name).write_bytes(b"{}")
        (journal_dir / f"pipe {name}").mkdir()
    async with opened_over(config, clock):
        pass
    told = [record.getMessage() for record in caplog.records if "a journal file" in record.getMessage()]
    assert len(told) == 4
    assert all(message.isascii() and message.isprintable() for message in told)


def make_open(directory):
    directory.mkdir()
    directory.chmod(0o755)


def make_group_writable(directory):
    directory.mkdir()
    directory.chmod(0o720)


def make_linked(directory):
    (directory.parent / "elsewhere").mkdir(mode=0o700)
    directory.symlink_to(directory.parent / "elsewhere")


def make_foreign(directory):
    directory.mkdir(mode=0o700)
    os.chown(directory, 12345, 12345)


@pytest.mark.parametrize("make", [make_open, make_group_writable, make_linked, make_foreign])
async def test_a_directory_that_others_may_use_is_refused(config, clock, journal_dir, make):
    if make is make_foreign and os.geteuid() != 0:
        pytest.skip("only root can give a directory to another user")
    make(journal_dir)
    with pytest.raises(ConfigurationError) as caught:
        async with opened_over(config, clock):
            pass
    assert caught.value.code == "journal_unusable"
    assert str(journal_dir) not in str(caught.value)


@pytest.mark.parametrize("make", [make_pipe, make_link, make_directory])
@pytest.mark.usefixtures("drained")
async def test_what_lies_in_the_way_of_a_new_file_is_not_written_to(journal_dir, make, tmp_path):
    journal = FileJournal(journal_dir)
    [entry] = await journal.entries()
    await journal.remove(entry)
    temporary = journal_dir / f"{entry.attempt.attempt_id.hex}.refresh.tmp"
    make(temporary, b"untouched")
    async with asyncio.timeout(20):
        if make is make_directory:
            with pytest.raises(JournalError):
                await journal.write(entry)
        else:
            await journal.write(entry)
            assert list(await journal.entries()) == [entry]
    if make is make_link:
        assert (tmp_path / "target.json").read_bytes() == b"untouched"


@pytest.mark.usefixtures("drained")
async def test_an_entry_that_cannot_be_checked_yet_waits(config, clock, journal_dir):
    """The process starts while data keys cannot be read; the entry is neither committed nor dropped."""
    path = config.database_url.reveal().removeprefix("sqlite:///")
    entry_files = files(journal_dir)
    async with open_sqlite_store(path, migrate=True, clock=clock.now) as below:
        keys = below.keys = Failing(below.keys, "data_key", StorageError("away", retryable=True))
        async with open_vault_over(below, config, refreshers={"acme": ScriptedRefresher()}) as vault:
            assert files(journal_dir) == entry_files
            assert isinstance(await failure(vault.ensure_access_token(ACCOUNT)), StorageError)
            keys.left = 0
            assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
            assert await stored(vault) == NEW
    assert files(journal_dir) == []


@pytest.mark.usefixtures("drained")
async def test_another_vaults_entry_is_left_to_it(config, clock, journal_dir, tmp_path):
    other = make_config(f"sqlite:///{tmp_path}/other.db", journal_dir=journal_dir)
    async with opened_over(other, clock) as vault:
        await store(vault)
        assert (await stored(vault))["access_token"] == "access-0"
    assert len(files(journal_dir)) == 1
    async with opened_over(config, clock) as vault:
        assert await stored(vault) == NEW


async def test_a_directory_that_cannot_be_written_to_is_told_at_start(sqlite_config, tmp_path, clock):
    blocked = tmp_path / "file"
    blocked.write_text("")
    for directory in (blocked, blocked / "below"):
        with pytest.raises(ConfigurationError) as caught:
            async with opened_over(evolve(sqlite_config, journal_dir=directory), clock):
                pass
        assert caught.value.code == "journal_unusable"


@pytest.mark.parametrize("how", ["full disk", "a file in its place"])
async def test_a_journal_that_cannot_be_written_is_an_error_and_the_answer_is_kept(
    config, clock, database, journal_dir, how
):
    from contextlib import ExitStack

    with ExitStack() as trouble:

        def fail():
            database.down()
            if how == "full disk":
                trouble.enter_context(no_file_may_grow())
            else:
                os.rmdir(journal_dir)
                journal_dir.write_text("")

        refresher = refresher_that(fail)
        async with opened_over(config, clock, refresher) as vault:
            await store(vault)
            clock.advance(HOUR)
            error = await failure(vault.ensure_access_token(ACCOUNT))
            assert isinstance(error, RefreshNotPersistedError)
            trouble.close()
            database.up()
            assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
            assert await stored(vault) == NEW
    assert len(refresher.calls) == 1
    assert journal_dir.is_file() or files(journal_dir) == []


# Without a journal


async def test_without_a_journal_it_is_never_a_silent_success(sqlite_config, clock):
    database = BrokenSqlite(sqlite_config)
    refresher = refresher_that(database.down, answer(2))
    async with opened_over(sqlite_config, clock, refresher) as vault:
        await store(vault)
        clock.advance(HOUR)
        for call in (vault.ensure_access_token, vault.refresh_account):
            error = await failure(call(ACCOUNT))
            assert isinstance(error, (RefreshNotPersistedError, StorageError))
            if call == vault.ensure_access_token:
                assert (type(error), error.account) == (RefreshNotPersistedError, ACCOUNT)
        assert len(refresher.calls) == 1  # the old refresh token is not used again
        database.up()

        async def is_stored():
            return await stored(vault) == NEW

        await eventually(is_stored)  # the vault retries by itself, without a call
        assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
    assert len(refresher.calls) == 1


async def test_a_sweep_does_not_spend_again_what_waits_for_the_database(sqlite_config, clock):
    database = BrokenSqlite(sqlite_config)
    refresher = refresher_that(database.down, answer(2))
    async with opened_over(sqlite_config, clock, refresher) as vault:
        await store(vault)
        clock.advance(HOUR)
        await failure(vault.ensure_access_token(ACCOUNT))
        clock.advance(10 * MINUTE)  # lease and quiescence are over
        assert isinstance(await failure(vault.refresh_due()), StorageError)
        database.up()
        assert (await vault.refresh_due()).refreshed == 0
        assert await stored(vault) == NEW
    assert len(refresher.calls) == 1


async def test_a_sweep_that_was_faster_than_the_retry_spends_nothing_either(sqlite_config, clock):
    """The database comes back after the sweep tried to commit the waiting answer, and before it reserves accounts."""
    database, steps = BrokenSqlite(sqlite_config), Steps("before reserve_due")
    refresher = refresher_that(database.down, answer(2))
    path = sqlite_config.database_url.reveal().removeprefix("sqlite:///")
    async with (
        open_sqlite_store(path, migrate=True, clock=clock.now) as below,
        open_vault_over(SteppedStore(below, steps), sqlite_config, refreshers={"acme": refresher}) as vault,
    ):
        await store(vault)
        clock.advance(HOUR)
        await failure(vault.ensure_access_token(ACCOUNT))
        clock.advance(10 * MINUTE)
        sweep = asyncio.create_task(vault.refresh_due())
        await steps.reached.wait()
        database.up()
        steps.go_on.set()
        assert (await sweep).refreshed == 0
        assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
    assert len(refresher.calls) == 1


async def test_closing_without_the_database_ends_and_says_what_is_lost(sqlite_config, clock, caplog):
    database, config = (
        BrokenSqlite(sqlite_config),
        evolve(sqlite_config, tuning=Tuning(close_timeout=timedelta(seconds=1))),
    )
    async with asyncio.timeout(60):
        async with opened_over(config, clock, refresher_that(database.down)) as vault:
            await store(vault)
            clock.advance(HOUR)
            await failure(vault.ensure_access_token(ACCOUNT))
    assert "lost" in caplog.text
    database.up()


# A database that hangs


async def test_a_database_that_hangs_costs_no_token(config, clock, database, journal_dir):
    async with asyncio.timeout(60):
        async with opened_over(config, clock, refresher_that(database.lock)) as vault:
            await store(vault)
            clock.advance(HOUR)
            assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
            assert len(files(journal_dir)) == 1
            database.unlock()

            async def is_drained():
                return not files(journal_dir)

            await eventually(is_drained, 20)
            assert await stored(vault) == NEW
            assert {info.generation for info in (await vault.list_tokens("t1")).items} == {2}


async def test_without_a_journal_a_slow_database_is_waited_for(sqlite_config, clock):
    database = BrokenSqlite(sqlite_config)
    refresher = refresher_that(database.lock)
    async with asyncio.timeout(60), opened_over(sqlite_config, clock, refresher) as vault:
        await store(vault)
        clock.advance(HOUR)
        asyncio.get_running_loop().call_later(2.5, database.unlock)  # beyond the time for a commit
        assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
        assert await stored(vault) == NEW


async def test_the_database_is_away_for_the_claim(config, clock, database):
    """Nothing is spent if the claim cannot be stored first."""
    refresher = ScriptedRefresher(answer(1))
    async with opened_over(config, clock, refresher) as vault:
        await store(vault)
        clock.advance(56 * MINUTE)
        database.down()
        # The stored token is still valid, so the caller gets it.
        assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-0"
        assert isinstance(await failure(vault.refresh_account(ACCOUNT)), StorageError)
        assert refresher.calls == []
        database.up()
        assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"


async def test_a_failure_that_cannot_be_noted_is_an_unknown_outcome(config, clock, database):
    from vault_adapters import RefreshFailedError

    async def fail(request):
        database.down()
        raise RefreshFailedError(reason="temporarily_unavailable")

    refresher = ScriptedRefresher(fail, answer(2))
    async with opened_over(config, clock, refresher) as vault:
        await store(vault)
        clock.advance(HOUR)
        assert (await failure(vault.ensure_access_token(ACCOUNT))).reason == "temporarily_unavailable"
        database.up()
        clock.advance(MINUTE)
        assert isinstance(await failure(vault.ensure_access_token(ACCOUNT)), RefreshFailedError)
        clock.advance(MINUTE)
        assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-2"


# The data key


@pytest.mark.usefixtures("drained")
async def test_an_erased_tenants_entry_brings_nothing_back(config, clock, journal_dir):
    async with opened_over(evolve(config, journal_dir=None), clock) as vault:
        await vault.erase_tenant(ACCOUNT.tenant_id)
    async with opened_over(config, clock) as vault:
        assert await stored(vault) == {}


@pytest.mark.usefixtures("drained")
async def test_a_rotated_data_key_is_used_for_what_waited(config, clock, journal_dir):
    async with opened_over(evolve(config, journal_dir=None), clock) as vault:
        await vault.keys.rotate_data_key(ACCOUNT.tenant_id)
    async with opened_over(config, clock) as vault:
        assert await stored(vault) == NEW
    assert files(journal_dir) == []


@pytest.mark.usefixtures("drained")
async def test_an_answer_whose_data_key_was_destroyed_asks_for_the_user(config, clock, journal_dir, caplog):
    """The entry is read more than a day after a key rotation: nothing opens it, and its credential is spent."""
    async with opened_over(evolve(config, journal_dir=None), clock) as vault:
        await vault.keys.rotate_data_key(ACCOUNT.tenant_id)
        await vault.keys.reencrypt()
        clock.advance(25 * HOUR)
        assert (await vault.keys.reencrypt()).destroyed == 1
    async with opened_over(config, clock) as vault:
        account = await vault.get_account(ACCOUNT)
        assert (account.state, account.reason) == (ConnectionState.REAUTHORIZATION_REQUIRED, "answer_lost")
    assert files(journal_dir) == []
    assert "is lost" in caplog.text


@pytest.mark.usefixtures("drained")
async def test_another_secret_opens_nothing(config, clock):
    wrong = evolve(config, encryption_secret=Secret("another secret, which is not this database's"))
    with pytest.raises(ConfigurationError):
        async with opened_over(wrong, clock):
            pass


async def test_other_accounts_do_not_wait(config, clock, database, journal_dir):
    other = Account("t2", "acme")
    async with opened_over(config, clock, refresher_that(database.down)) as vault:
        await store(vault)
        await store(vault, account=other, lifetime=10 * HOUR)
        clock.advance(HOUR)
        await vault.ensure_access_token(ACCOUNT)
        assert (await vault.ensure_access_token(other)).value.reveal() == "access-0"
        assert (await vault.get_token(other.key(TokenKind.REFRESH_TOKEN))) is not None
        database.up()
