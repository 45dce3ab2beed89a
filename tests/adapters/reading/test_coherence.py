"""Cached reads need no query, and see the changes of other processes."""

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import timedelta

import psycopg
import pytest
from attrs import evolve
from psycopg_pool import AsyncConnectionPool
from tests.adapters.reading.reading_kit import has_listener, terminate_listeners
from tests.support.fault_proxy import fault_proxy
from tests.support.pgbouncer import start_pgbouncer
from tests.support.postgres import start_postgres

from vault_adapters import Account, ImportedToken, Secret, StorageError, TokenKey, TokenKind, TokenSet, open_vault
from vault_adapters.stores.postgres.notifying import channel_of, mark_of, mark_of_tenant
from vault_adapters.testing import ScriptedRefresher
from vault_domain.entities.suspicion import ConfirmationWindow

pytestmark = pytest.mark.processes

LONG = timedelta(hours=1)
ACCOUNT = Account("t1", "acme", "ann@example.com")
ACCESS = ACCOUNT.key(TokenKind.ACCESS_TOKEN)
BYSTANDER = Account("t2", "other", None).key(TokenKind.API_KEY)


def answer(number):
    return TokenSet(f"access-{number}", f"refresh-{number}", expires_in=3600)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    """Give the URL of an empty database of either kind."""
    return f"sqlite:///{tmp_path}/vault.db" if request.param == "sqlite" else request.getfixturevalue("url")


def watch_of(vault):
    return vault._services.tokens._reader._rows._watch


async def eventually(condition, seconds=60):
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(0.005)


@asynccontextmanager
async def cached_vault(config):
    """Open a vault with a cache, and wait until it hears of other processes' changes."""
    async with open_vault(config, refreshers={"acme": ScriptedRefresher()}) as vault:
        await eventually(watch_of(vault).is_current)
        yield vault


async def value_of(vault, key=ACCESS):
    token = await vault.get_token(key)
    if token is None:
        return None
    return token.value.reveal(), "suspect" if token.info.suspect_since else token.info.status.value


async def sees(vault, expected, key=ACCESS):
    """Wait until a vault returns a value."""
    async with asyncio.timeout(60):
        while await value_of(vault, key) != expected:  # noqa: ASYNC110 - it changes in another process
            await asyncio.sleep(0.005)


async def replace(vault):
    await vault.store_token(ACCESS, "new")
    return ("new", "valid")


async def replace_expecting(vault):
    await vault.store_token(ACCESS, "new", expected_generation=1)
    return ("new", "valid")


async def replace_among_others(vault):
    """Store at the same moment as others, so that one statement stores all but the first."""
    keys = [*(TokenKey("t1", "acme", ACCESS.kind, str(number)) for number in range(3)), ACCESS]
    await asyncio.gather(*(vault.store_token(key, "new") for key in keys))
    return ("new", "valid")


async def store_many(vault):
    """Store more rows than one notification can name."""
    keys = [TokenKey("t1", "acme", TokenKind.API_KEY, str(number)) for number in range(1200)]
    await vault.store_tokens([*((key, "x") for key in keys), (ACCESS, "new")])
    return ("new", "valid")


async def store_set(vault):
    await vault.store_token_set(ACCOUNT, answer(5))
    return ("access-5", "valid")


async def refresh(vault):
    await vault.refresh_account(ACCOUNT)
    return ("access-9", "valid")


async def import_over(vault):
    await vault.import_tokens([ImportedToken(ACCESS, Secret("new"))], overwrite=True)
    return ("new", "valid")


async def mark(vault):
    await vault.mark_token_invalid(await vault.get_token(ACCESS), "revoked")
    return ("access-0", "invalid")


async def suspect(vault):
    """Report the token as rejected, as if no refresh could replace it; its row becomes suspect, but stays valid."""
    info = (await vault.get_token(ACCESS)).info
    await vault._services.writing.report_rejected(info, "invalid_token", window=ConfirmationWindow(), actor=None)
    return ("access-0", "suspect")


async def delete(vault):
    await vault.delete_token(ACCESS)


async def delete_provider(vault):
    await vault.delete_provider_tokens("t1", "acme")


async def delete_account(vault):
    await vault.delete_account(ACCOUNT)


async def erase(vault):
    await vault.erase_tenant("t1")


CHANGES = [
    *(replace, replace_expecting, replace_among_others, store_many, store_set, refresh, import_over),
    *(mark, suspect, delete, delete_provider, delete_account, erase),
]


@pytest.mark.parametrize("change", CHANGES)
async def test_another_processs_change_is_seen(database, make_config, change):
    """The cache would answer with the old row for an hour, so only the notification can bring the change."""
    async with open_vault(make_config(database), refreshers={"acme": ScriptedRefresher(answer(9))}) as other:
        await other.store_token_set(ACCOUNT, answer(0))
        await other.store_token(BYSTANDER, "bystander")
        async with cached_vault(make_config(database, read_cache=LONG)) as vault:
            assert await value_of(vault) == ("access-0", "valid")
            assert await value_of(vault, BYSTANDER) == ("bystander", "valid")
            expected = await change(other)
            await sees(vault, expected)
            assert await value_of(vault, BYSTANDER) == ("bystander", "valid")


async def test_this_processs_own_changes_are_seen_at_once(database, make_config):
    for change in CHANGES:
        config = make_config(database, read_cache=LONG)
        async with open_vault(config, refreshers={"acme": ScriptedRefresher(answer(9))}) as vault:
            await vault.delete_account(ACCOUNT)
            await vault.store_token_set(ACCOUNT, answer(0))
            assert await value_of(vault) == ("access-0", "valid")
            assert await change(vault) == await value_of(vault)


async def test_cached_rows_hold_the_extra_members_sealed(database, make_config):
    async with (
        open_vault(make_config(database)) as other,
        cached_vault(make_config(database, read_cache=LONG)) as vault,
    ):
        for number in range(2):
            await other.store_token_set(ACCOUNT, evolve(answer(number), extra={"place": f"canary-{number}"}))
            await sees(vault, (f"access-{number}", "valid"))
            for _ in range(2):
                assert (await vault.get_token(ACCESS)).extra == {"place": f"canary-{number}"}
            rows = vault._services.tokens._reader._rows
            assert f"canary-{number}".encode() not in rows.cached(ACCESS).row.sealed.extra


async def test_cached_reads_send_nothing_to_the_database(url, make_config):
    with fault_proxy(url) as proxy:
        async with cached_vault(make_config(proxy.url, read_cache=LONG)) as vault:
            await vault.store_token_set(ACCOUNT, answer(0))
            before = proxy.pieces
            for _ in range(200):
                await vault.get_token(ACCESS)
                await vault.get_access_token(ACCOUNT)
                await vault.ensure_access_token(ACCOUNT)
            cached = proxy.pieces - before
            await vault.get_token(ACCESS, fresh=True)
            assert proxy.pieces > before + cached
            assert cached < 20  # the periodic work of the vault may run meanwhile


async def test_a_lost_connection_is_replaced_and_what_it_missed_is_read_again(url, make_config):
    config = make_config(url, read_cache=LONG)
    async with open_vault(make_config(url)) as other, cached_vault(config) as vault:
        await other.store_token_set(ACCOUNT, answer(0))
        for number in range(1, 4):
            assert await value_of(vault) == (f"access-{number - 1}", "valid")
            await eventually(lambda: terminate_listeners(url) == 1)  # the vault listens again after a moment
            await other.store_token_set(ACCOUNT, answer(number))
            await sees(vault, (f"access-{number}", "valid"))
            await eventually(watch_of(vault).is_current)


async def test_after_a_restart_of_the_server(make_config):
    with start_postgres(private=True) as server:
        url = server.url
        async with open_vault(make_config(url)) as other, cached_vault(make_config(url, read_cache=LONG)) as vault:
            await other.store_token_set(ACCOUNT, answer(0))
            assert await value_of(vault) == ("access-0", "valid")
            server.stop()
            await eventually(lambda: not watch_of(vault).is_current())
            server.start()
            async with asyncio.timeout(60):
                while True:
                    try:
                        await other.store_token_set(ACCOUNT, answer(1))
                        break
                    except StorageError:
                        await asyncio.sleep(0.05)
            await sees(vault, ("access-1", "valid"))
            await eventually(watch_of(vault).is_current)


async def test_a_hosts_pool_tells_where_to_listen(url, make_config):
    async with (
        AsyncConnectionPool(url, min_size=1, max_size=2) as pool,
        open_vault(make_config("postgresql://ignored", read_cache=LONG), pool=pool) as vault,
        open_vault(make_config(url)) as other,
    ):
        await eventually(watch_of(vault).is_current)
        await other.store_token_set(ACCOUNT, answer(0))
        assert await value_of(vault) == ("access-0", "valid")
        await other.store_token_set(ACCOUNT, answer(1))
        await sees(vault, ("access-1", "valid"))


async def test_through_a_pooler_in_transaction_mode_rows_are_cached_for_a_second(make_config, caplog):
    with start_postgres(private=True) as server, start_pgbouncer(server) as pooled:
        config = make_config(pooled, read_cache=LONG, prepared_statements=False, storage_timeout=timedelta(seconds=1))
        async with open_vault(make_config(server.url)) as other, open_vault(config) as vault:
            await eventually(lambda: "pooler in transaction mode" in caplog.text)
            assert not watch_of(vault).is_current()
            await other.store_token_set(ACCOUNT, answer(0))
            assert await value_of(vault) == ("access-0", "valid")
            await other.store_token_set(ACCOUNT, answer(1))
            await sees(vault, ("access-1", "valid"))


async def test_writers_notify_only_while_somebody_listens_and_name_no_account(url, make_config):
    config = make_config(url)
    async with open_vault(config) as other, await psycopg.AsyncConnection.connect(url, autocommit=True) as raw:
        await raw.execute(f'LISTEN "{channel_of(config.postgres_schema)}"')
        await other.store_token_set(ACCOUNT, answer(0))
        assert [each async for each in raw.notifies(timeout=0.2)] == []
        async with cached_vault(make_config(url, read_cache=LONG)):
            info = await other.store_token(ACCESS, "v")
            await other.delete_token(ACCESS)
            await other.erase_tenant("t1")
            heard = [each.payload async for each in raw.notifies(timeout=1)]
    item = f"k{mark_of(ACCESS)}"
    told = [text for text in heard if not text.startswith("p")]
    assert told == [f"{item}{info.value_id.hex[:8]}", item, f"t{mark_of_tenant('t1')}"]
    assert all(re.fullmatch("[kpt][0-9a-f]{6,20}", text) for text in heard)


@pytest.mark.parametrize("name", [None, "ünïcödé 🔑", "a'b\\n\nc", "x" * 255])
async def test_statements_and_process_compute_the_same_mark(url, make_config, name):
    account = Account("tenant ü", "acme", name)
    async with open_vault(make_config(url)) as other, cached_vault(make_config(url, read_cache=LONG)) as vault:
        await other.store_token_set(account, answer(0))
        assert (await value_of(vault, account.key(TokenKind.ACCESS_TOKEN)))[0] == "access-0"
        await other.delete_account(account)
        await sees(vault, None, account.key(TokenKind.ACCESS_TOKEN))


async def test_a_writer_that_began_before_the_listener_is_waited_for(url, make_config):
    """It did not notify, because nobody listened when it looked."""
    async with open_vault(make_config(url)) as other:
        await other.store_token_set(ACCOUNT, answer(0))
        async with await psycopg.AsyncConnection.connect(url) as raw:
            await raw.execute("SELECT pg_current_xact_id()")
            async with open_vault(make_config(url, read_cache=LONG)) as vault:
                await eventually(lambda: has_listener(url))
                await asyncio.sleep(0.3)
                assert not watch_of(vault).is_current()
                await raw.rollback()
                await eventually(watch_of(vault).is_current)


async def test_a_closed_vault_remembers_nothing(database, make_config):
    async with cached_vault(make_config(database, read_cache=LONG)) as vault:
        await vault.store_token(ACCESS, "value")
        assert (await value_of(vault), await value_of(vault)) == (("value", "valid"),) * 2
        rows = vault._services.tokens._reader._rows
        assert len(rows) == 1
    assert len(rows) == 0
    with pytest.raises(StorageError):
        await vault.get_token(ACCESS)
