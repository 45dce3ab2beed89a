"""Several processes on one database, and several vaults in one process."""

import asyncio
import gc
import os
import threading
from pathlib import Path

import psycopg
import pytest
from tests.support.databases import both_stores
from tests.support.processes import Call, run_processes

from vault_adapters import Account, StateRefusedError, TokenKey, TokenKind, TokenSet, VaultConfig, open_vault

pytestmark = [pytest.mark.processes, both_stores]

SECRET = "an encryption secret for tests, long enough"


def described(config):
    """Return what a child needs to open the same database."""
    return {"database_url": config.database_url.reveal(), "postgres_schema": config.postgres_schema}


async def store_one(settings, number):
    config = VaultConfig(encryption_secret=SECRET, scrypt_log2_n=14, pool_size=2, **settings)
    async with open_vault(config) as vault:
        key = TokenKey("t1", "google", TokenKind.API_KEY, str(number))
        info = await vault.store_token(key, f"value {number}")
        shared = await vault.store_token(TokenKey("t1", "google", TokenKind.WEBHOOK_SECRET), str(number))
        return [info.generation, shared.generation, (await vault.get_token(key)).value.reveal()]


async def only_open(settings):
    config = VaultConfig(encryption_secret=SECRET, scrypt_log2_n=14, pool_size=2, **settings)
    async with open_vault(config) as vault:
        return (await vault.health()).ok


async def test_the_first_tokens_of_32_processes_share_one_data_key(database):
    """The database is new too: the processes migrate it and make its master key on the way."""
    settings = described(database.config())
    results = run_processes([Call(store_one, [settings, number]) for number in range(32)], timeout=120)
    assert [(first, value) for first, _, value in results] == [(1, f"value {number}") for number in range(32)]
    assert sorted(shared for _, shared, _ in results) == list(range(1, 33))
    assert database.execute("SELECT state, count(*) FROM {master_key} GROUP BY state") == [("active", 1)]
    assert database.execute("SELECT tenant_id, state, count(*) FROM {data_key} GROUP BY 1, 2") == [("t1", "active", 1)]
    async with open_vault(database.config()) as vault:
        keys = [TokenKey("t1", "google", TokenKind.API_KEY, str(number)) for number in range(32)]
        found = await vault.get_tokens(keys)
        assert [found[key].value.reveal() for key in keys] == [f"value {number}" for number in range(32)]


def test_processes_that_bootstrap_at_once_agree(database):
    settings = described(database.config())
    assert run_processes([Call(only_open, [settings])] * 4) == [True] * 4
    assert database.execute("SELECT state, count(*) FROM {master_key} GROUP BY state") == [("active", 1)]


async def test_two_vaults_in_one_process(database, tmp_path):
    """Two vaults on the same database, and one elsewhere, with another secret and the same account."""
    other = VaultConfig(
        f"sqlite:///{tmp_path / 'other.db'}",
        encryption_secret=SECRET[::-1],
        scrypt_log2_n=14,
    )
    account = Account("t1", "google")
    happened: dict[str, list[object]] = {"one": [], "two": [], "other": []}
    async with (
        open_vault(database.config(), on_event=happened["one"].append) as one,
        open_vault(database.config(), on_event=happened["two"].append) as two,
        open_vault(other, on_event=happened["other"].append) as third,
    ):
        await one.store_token_set(account, TokenSet("one"))
        await third.store_token_set(account, TokenSet("third"))
        assert (await two.get_access_token(account)).token.value.reveal() == "one"
        assert (await third.get_access_token(account)).token.value.reveal() == "third"
        assert await two.delete_token(account.key(TokenKind.ACCESS_TOKEN)) is True
        assert await third.get_access_token(account) is not None
    assert {name: len(events) for name, events in happened.items()} == {"one": 1, "two": 1, "other": 1}


def open_files(path):
    """Return which of this process's open files are the database's."""
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            targets.append(os.readlink(link))
        except OSError:
            continue
    return [target for target in targets if target.startswith(str(path))]


def connections(database):
    """Return how many sessions vaults hold on this database."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'token-vault' AND datname = current_database()"
    )
    with psycopg.connect(database.url, autocommit=True) as connection:
        return connection.execute(query).fetchone()[0]


@pytest.mark.parametrize("ending", ["idle", "busy", "error", "cancelled"])
async def test_closing_leaves_nothing_behind(database, ending):
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    sessions = connections(database) if database.kind == "postgres" else 0

    async def use():
        async with open_vault(database.config()) as vault:
            account = Account("t1", "google")
            await vault.store_token_set(account, TokenSet("a", "r"))
            await asyncio.gather(*(vault.get_access_token(account) for _ in range(50)))
            if ending == "busy":
                for number in range(20):
                    key = TokenKey("t1", "google", TokenKind.API_KEY, str(number))
                    stragglers.append(asyncio.ensure_future(vault.store_token(key, "v")))
                    stragglers.append(asyncio.ensure_future(vault.get_token(key)))
                await asyncio.sleep(0)
            elif ending == "error":
                raise LookupError
            elif ending == "cancelled":
                asyncio.current_task().cancel()
                await asyncio.sleep(1)

    stragglers: list[asyncio.Future[object]] = []
    results = await asyncio.gather(asyncio.ensure_future(use()), return_exceptions=True)
    expected = {"error": LookupError, "cancelled": asyncio.CancelledError}.get(ending, type(None))
    assert [type(result) for result in results] == [expected]
    await asyncio.gather(*stragglers, return_exceptions=True)
    assert asyncio.all_tasks() == tasks
    # The Postgres driver looks up host names in threads of the event loop, which outlive the vault.
    assert {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")} == threads
    if database.kind == "sqlite":
        gc.collect()
        assert open_files(database.path) == []
    else:
        for _ in range(100):
            if connections(database) <= sessions:
                break
            await asyncio.sleep(0.02)  # the server notices a closed socket a moment later
        assert connections(database) <= sessions


async def test_a_vault_keeps_to_its_event_loop(database):
    async with open_vault(database.config()) as vault:
        await vault.store_token(TokenKey("t1", "google", TokenKind.API_KEY), "v")

        def elsewhere():
            return asyncio.run(vault.get_token(TokenKey("t1", "google", TokenKind.API_KEY)))

        with pytest.raises(Exception, match="event loop") as caught:
            await asyncio.to_thread(elsewhere)
        assert caught.value.code == "wrong_event_loop"
        assert await vault.get_token(TokenKey("t1", "google", TokenKind.API_KEY)) is not None


async def open_state(settings, state):
    config = VaultConfig(encryption_secret=SECRET, scrypt_log2_n=14, pool_size=2, **settings)
    async with open_vault(config) as vault:
        try:
            return (await vault.states.open(state, bound_to="session")).content.reveal()
        except StateRefusedError as error:
            return error.reason


async def test_a_callback_that_comes_to_several_processes_is_finished_by_one(database):
    async with open_vault(database.config()) as vault:
        state = await vault.states.seal(Account("t1", "google"), "content", bound_to="session")
    results = run_processes([Call(open_state, [described(database.config()), state])] * 6)
    assert sorted(results) == ["content", *["used"] * 5]
