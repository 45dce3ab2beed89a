"""Connections: a host's pool that stays as it is, poolers, servers that go away, cancelled callers."""

import asyncio
import logging
import socket
import threading
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from tests.adapters.postgres.samples import ACCESS, ACCOUNT, REFRESH, SCHEMA, prepare, write
from tests.contract.stores import check_postgres_idle
from tests.support.pgbouncer import start_pgbouncer
from tests.support.postgres import start_postgres

from vault_adapters import VaultConfig, open_vault
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.errors import ConfigurationError, StorageError
from vault_domain.ports.change import DataKeyInactiveError
from vault_domain.ports.pages import Owned
from vault_domain.services.tokens.account_changes import AccountChanges

SECRET = "an encryption secret of the tests, long enough"


async def assert_idle(pool):
    """Assert that no connection is checked out, and none is inside a transaction."""
    async with asyncio.timeout(30):
        # `pool_size` counts connections that the pool is still opening in the background; `pool_available` does not.
        while (stats := pool.get_stats())["pool_available"] != stats["pool_size"]:  # noqa: ASYNC110 - the pool has no event
            await asyncio.sleep(0.01)
    for connection in pool._pool:
        assert connection.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE


async def use(store):
    """Go once through reads, single writes, transactions and lists."""
    await prepare(store)
    await store.accounts.store([write(scopes=("a", "b"))], actor="user:1")
    await AccountChanges(store.accounts, uuid4).store_set(ACCOUNT, [write(), write(REFRESH)], label="Ann", actor=None)
    assert (await store.accounts.get(ACCESS)).row.info.generation == 2
    readings = await asyncio.gather(*(store.accounts.get(key) for key in (ACCESS, REFRESH, ACCESS)))
    assert [reading.row.info.generation for reading in readings] == [2, 1, 2]
    data_key = await store.keys.data_key("acme", readings[0].row.sealed.data_key_id)
    assert data_key.wraps[0].wrapped == b"wrapped"
    assert (await store.accounts.read(ACCOUNT)).record.label == "Ann"
    assert len(await store.audit.page(None, limit=10, after=None)) == 3
    with pytest.raises(DataKeyInactiveError):
        await AccountChanges(store.accounts, uuid4).store_set(
            ACCOUNT, [write(key_id=b"z" * 16), write(REFRESH)], label="Bea", actor=None
        )
    assert (await store.accounts.read(ACCOUNT)).record.label == "Ann"


HOST_SETTINGS = {
    "plain": {"autocommit": True},
    "manual": {"autocommit": False},
    "preparing": {"autocommit": False, "prepare_threshold": 0},  # several statements in one text cannot be prepared
    "dicts": {"autocommit": True, "row_factory": dict_row},
    "serializable_role": {"autocommit": True, "options": "-c default_transaction_isolation=serializable"},
    "read_only_role": {"autocommit": False, "options": "-c default_transaction_read_only=on"},
    "another_zone": {"autocommit": True, "options": "-c TimeZone=Asia/Kathmandu -c search_path=pg_catalog"},
    "unprepared": {"autocommit": True, "prepare_threshold": None},
}


@pytest.mark.parametrize("settings", HOST_SETTINGS.values(), ids=HOST_SETTINGS)
async def test_a_hosts_pool_is_used_as_it_is_and_left_as_it_was(url, store, settings):
    async def configure(connection):
        await connection.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)

    async with AsyncConnectionPool(
        url, kwargs=settings, min_size=1, max_size=3, open=False, configure=configure
    ) as pool:
        async with open_postgres_store("", migrate=True, schema=SCHEMA, pool=pool) as over_pool:
            await use(over_pool)
            await assert_idle(pool)
        assert not pool.closed
        async with pool.connection() as connection:
            assert connection.autocommit is settings["autocommit"]
            assert connection.isolation_level is psycopg.IsolationLevel.SERIALIZABLE
            assert connection.row_factory is settings.get("row_factory", psycopg.rows.tuple_row)
            cursor = await connection.execute("SELECT 1 AS one")
            assert await cursor.fetchone() == ({"one": 1} if "row_factory" in settings else (1,))


async def test_writers_under_a_serializable_default_do_not_fail_each_other(url, store):
    await prepare(store)
    strict = f"{url}&options=-cdefault_transaction_isolation%3Dserializable"
    async with open_postgres_store(strict, migrate=False, schema=SCHEMA) as strict_store:
        await asyncio.gather(*(strict_store.accounts.store([write()], actor=None) for _ in range(40)))
    assert (await store.accounts.get(ACCESS)).row.info.generation == 40


async def test_what_is_no_open_pool_is_refused(url):
    closed = AsyncConnectionPool(url, open=False)
    for pool in (closed, object()):
        with pytest.raises(ConfigurationError) as caught:
            async with open_postgres_store("", migrate=True, pool=pool):
                pass
        assert caught.value.code == "host_pool"
    with pytest.raises(ConfigurationError):
        async with open_vault(VaultConfig(database_url="sqlite:///:memory:", encryption_secret=SECRET), pool=closed):
            pass


async def test_a_vault_over_a_hosts_pool(url):
    config = VaultConfig(database_url=url, encryption_secret=SECRET, scrypt_log2_n=14)
    async with AsyncConnectionPool(url, min_size=1, max_size=2, open=False) as pool:
        async with open_vault(config, pool=pool) as vault:
            await vault.store_token(ACCESS, "value")
            assert (await vault.get_token(ACCESS)).value.reveal() == "value"
        await assert_idle(pool)


async def test_connections_that_a_hosts_pool_hands_out_inside_a_transaction_go_back(url, store):
    """The pool's check of a connection begins a transaction and leaves it open."""
    is_careless = False

    async def check(connection):
        if is_careless:
            await connection.execute("SELECT 1")

    await prepare(store)
    await store.accounts.store([write()], actor=None)
    async with AsyncConnectionPool(
        url, kwargs={"autocommit": False}, min_size=1, max_size=1, open=False, check=check
    ) as pool:
        async with open_postgres_store("", migrate=False, schema=SCHEMA, pool=pool) as over_pool:
            works = [
                lambda: over_pool.accounts.get(ACCESS),
                lambda: over_pool.accounts.store([write()], actor=None),
                lambda: AccountChanges(over_pool.accounts, uuid4).store_set(ACCOUNT, [write()], label=None, actor=None),
                lambda: over_pool.audit.page(None, limit=10, after=None),
            ]
            for work in works:
                is_careless = True
                with pytest.raises(ConfigurationError) as caught:
                    await work()
                assert caught.value.code == "host_pool"
                await assert_idle(pool)
                is_careless = False
                await work()
        is_careless = True
        with pytest.raises(ConfigurationError):
            async with open_postgres_store("", migrate=False, schema=SCHEMA, pool=pool):
                pass
        await assert_idle(pool)


async def test_times_are_utc_whatever_the_server_thinks(url, store):
    await prepare(store)
    async with open_postgres_store(f"{url}&options=-cTimeZone%3DAsia/Kathmandu", migrate=False) as other:
        [info] = (await other.accounts.store([write()], actor=None)).result
        reading = await other.accounts.get(ACCESS)
    assert {info.created_at.utcoffset().total_seconds(), reading.now.utcoffset().total_seconds()} == {0.0}
    assert abs((reading.now - info.created_at).total_seconds()) < 60


async def test_through_a_pooler_that_knows_no_prepared_statements(postgres, url):
    database = url.split("?")[0].rsplit("/", 1)[1]
    with start_pgbouncer(postgres, database=database, pool_size=2) as pooled:
        async with open_postgres_store(pooled, migrate=True, schema=SCHEMA, prepare=False, pool_size=8) as store:
            tenant_ids = [f"tenant-{number}" for number in range(20)]
            await prepare(store, *tenant_ids)
            keys = [Account(tenant_id, "google").key(TokenKind.ACCESS_TOKEN) for tenant_id in tenant_ids]

            async def turn(key):
                for number in range(10):
                    await store.accounts.store([write(key, f"{key.tenant_id}".encode())], actor=None)
                    reading = await store.accounts.get(key)
                    assert reading.row.sealed.blob == key.tenant_id.encode()
                    assert reading.row.info.generation == number + 1

            await asyncio.gather(*map(turn, keys))
            await AccountChanges(store.accounts, uuid4).delete_account(keys[0].account, actor=None)
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchall() == [(0,)]


async def test_through_a_pooler_as_a_whole_vault(postgres, url):
    database = url.split("?")[0].rsplit("/", 1)[1]
    with start_pgbouncer(postgres, database=database, pool_size=2) as pooled:
        config = VaultConfig(database_url=pooled, encryption_secret=SECRET, scrypt_log2_n=14, prepared_statements=False)
        async with open_vault(config) as first, open_vault(config) as second:
            keys = [TokenKey(f"t{number}", "google", "access_token") for number in range(30)]
            await asyncio.gather(*(first.store_token(key, key.tenant_id) for key in keys))
            tokens = await asyncio.gather(*(second.get_token(key) for key in keys for _ in range(3)))
            assert [token.value.reveal() for token in tokens] == [key.tenant_id for key in keys for _ in range(3)]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_read_survives_a_restart_of_the_server_and_a_write_says_so(mode):
    with start_postgres(private=True, settings={"synchronous_commit": "on"}) as server:
        async with open_postgres_store(server.url, migrate=True, pool_size=3) as store:
            await use(store)
            await asyncio.gather(*(store.pages.tokens(Owned("acme"), limit=9, after=None) for _ in "abc"))
            server.stop(mode)
            server.start()
            assert (await store.accounts.get(ACCESS)).row.info.generation == 2
            assert len(await store.pages.tokens(Owned("acme"), limit=9, after=None)) == 2
        async with open_postgres_store(server.url, migrate=True, pool_size=1) as store:
            await store.accounts.store([write()], actor=None)
            server.stop(mode)
            server.start()
            with pytest.raises(StorageError) as caught:
                await store.accounts.store([write()], actor=None)
            assert caught.value.retryable
            assert caught.value.__cause__ is caught.value.__context__ is None
            await store.accounts.store([write()], actor=None)
            assert (await store.accounts.get(ACCESS)).row.info.generation == 4


@pytest.mark.parametrize(
    "target",
    ["postgresql://nobody@127.0.0.1:1/x", "postgresql://u:hunter2secret@/x?host=/nonexistent", "DATABASE"],
)
async def test_a_server_that_is_away_fails_at_once_and_tells_nothing(url, target, caplog):
    caplog.set_level(logging.DEBUG)
    target = url.replace("/postgres_store", "/no_such") if target == "DATABASE" else target
    with pytest.raises(StorageError) as caught:
        async with asyncio.timeout(8), open_postgres_store(target, migrate=True):
            pass
    assert caught.value.retryable
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert "hunter2secret" not in caplog.text + str(caught.value)


async def test_a_url_that_libpq_does_not_know_is_not_repeated():
    with pytest.raises(ConfigurationError) as caught:
        async with open_postgres_store("postgresql://u:hunter2secret@h/x?nonsense=1", migrate=True):
            pass
    assert caught.value.__context__ is None
    assert "hunter2secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2secret@part/x@127.0.0.1/name",
        "postgresql://u:hunter2secret@part@127.0.0.1/name",
        "postgresql://u:hunter2secret/x@127.0.0.1/name",
        "postgresql://u:1/hunter2secret@127.0.0.1/name",
        "postgresql://u:hunter2secret@part#x@127.0.0.1/name",
    ],
)
async def test_a_password_that_is_not_escaped_is_looked_up_nowhere(url, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", None)  # psycopg looks hosts up by it
    with pytest.raises(ConfigurationError, match="not escaped") as caught:
        async with open_postgres_store(url, migrate=True):
            pass
    assert caught.value.__context__ is None
    assert "hunter2secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40ss%23w%2Frd@127.0.0.1:1/name",
        "postgresql://u:a?b#c:d@127.0.0.1:1/name",
        "postgresql://u@127.0.0.1:1,[::1]:1/na@me",
        "postgresql://u@%2Fno%2Fsuch/name",
        "postgresql:///name?host=@no_such",
        "postgresql://u@sch%C3%B6n.invalid/name",
    ],
)
async def test_an_escaped_password_and_unusual_places_are_tried(url):
    with pytest.raises(StorageError):
        async with asyncio.timeout(8), open_postgres_store(url, migrate=True):
            pass


async def test_parameters_of_the_url_reach_the_server(url, execute):
    async with open_postgres_store(f"{url}&application_name=billing", migrate=True):
        assert execute("SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'billing'") == [(True,)]


async def test_errors_of_the_server_leave_their_details_behind(store, execute):
    await prepare(store)
    execute(f"ALTER TABLE {SCHEMA}.token ADD CHECK (identifier <> 'canary')")
    key = Account("acme", "google", "canary").key(TokenKind.ACCESS_TOKEN)
    with pytest.raises(StorageError) as caught:
        await store.accounts.store([write(key)], actor=None)
    assert (caught.value.reason, caught.value.retryable) == ("23514", False)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_where_the_event_cannot_be_written_nothing_is(store, execute):
    await prepare(store)
    await store.accounts.store([write(REFRESH)], actor=None)
    execute(f"ALTER TABLE {SCHEMA}.audit_event ADD CHECK (seq < 0) NOT VALID")
    for attempt in (
        lambda: store.accounts.store([write()], actor=None),
        lambda: store.accounts.store([write(), write(REFRESH)], actor=None),
        lambda: AccountChanges(store.accounts, uuid4).store_expecting(write(), 0, actor=None),
        lambda: AccountChanges(store.accounts, uuid4).store_expecting(write(REFRESH), 1, actor=None),
        lambda: AccountChanges(store.accounts, uuid4).store_set(ACCOUNT, [write()], label="Ann", actor=None),
        lambda: AccountChanges(store.accounts, uuid4).delete_token(REFRESH, actor=None),
        lambda: AccountChanges(store.accounts, uuid4).delete_account(ACCOUNT, actor=None),
    ):
        with pytest.raises(StorageError):
            await attempt()
    assert [info.generation for info in await store.pages.tokens(Owned("acme"), limit=9, after=None)] == [1]
    assert execute(f"SELECT count(*) FROM {SCHEMA}.account") == [(0,)]


async def test_cancelled_callers_leave_no_transaction_and_no_connection_behind(store, execute):
    await prepare(store)
    other = Account("acme", "google", "bea").key(TokenKind.ACCESS_TOKEN)
    for turn in range(60):
        callers = [
            asyncio.create_task(store.accounts.store([write()], actor=None)),
            asyncio.create_task(store.accounts.store([write(other), write(REFRESH)], actor=None)),
            asyncio.create_task(
                AccountChanges(store.accounts, uuid4).store_set(
                    ACCOUNT, [write(), write(REFRESH)], label="x", actor=None
                )
            ),
            asyncio.ensure_future(store.accounts.get(ACCESS)),
            asyncio.create_task(store.audit.page(None, limit=9, after=None)),
        ]
        await asyncio.sleep(turn / 10_000)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    survivor = await asyncio.wait_for(store.accounts.get(ACCESS), 10)
    await store.accounts._database._flights.wait()
    for account in ACCOUNT, other.account:
        await AccountChanges(store.accounts, uuid4).delete_account(account, actor=None)
    await store.accounts._reads.drain()
    assert survivor.row is not None
    await check_postgres_idle(store)
    assert execute("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'") == [(0,)]
    # Each write happened as a whole or not at all: generations and events agree.
    [(stored,)] = execute(f"SELECT count(*) FROM {SCHEMA}.audit_event WHERE action = 'token_stored'")
    [(counted,)] = execute(f"SELECT sum(generation)::int FROM {SCHEMA}.audit_event WHERE action = 'token_deleted'")
    assert stored == counted


async def test_one_caller_that_leaves_does_not_take_the_others_along(store):
    await prepare(store)
    await store.accounts.store([write()], actor=None)
    callers = [asyncio.ensure_future(store.accounts.get(ACCESS)) for _ in range(20)]
    await asyncio.sleep(0)
    callers[7].cancel()
    readings = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(readings.pop(7), asyncio.CancelledError)
    assert all(reading.row is not None for reading in readings)


async def test_a_lone_read_takes_one_task(store):
    await prepare(store)
    await store.accounts.store([write()], actor=None)
    loop, made = asyncio.get_running_loop(), []

    def note(loop, coroutine, **options):
        made.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(note)
    try:
        assert (await store.accounts.get(ACCESS)).row is not None
    finally:
        loop.set_task_factory(None)
    assert len(made) == 1, made


async def test_closing_waits_for_what_is_under_way(url, execute):
    async with open_postgres_store(url, migrate=True, schema=SCHEMA) as store:
        await prepare(store)
        caller = asyncio.create_task(store.accounts.store([write()], actor=None))
        await asyncio.sleep(0)
    await caller
    assert execute(f"SELECT count(*) FROM {SCHEMA}.token") == [(1,)]
    await asyncio.sleep(0.1)
    assert execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'token-vault'") == [(0,)]


async def test_another_event_loop_is_refused(store):
    async def calls():
        for call in (lambda: store.accounts.get(ACCESS), lambda: store.audit.page(None, limit=1, after=None)):
            with pytest.raises(ConfigurationError) as caught:
                await call()
            assert caught.value.code == "wrong_event_loop"

    errors = []

    def elsewhere():
        try:
            asyncio.run(calls())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert errors == []


async def test_infinite_times_are_read_as_the_farthest_there_are(store, execute):
    await prepare(store)
    await store.accounts.store([write()], actor=None)
    execute(f"ALTER DOMAIN {SCHEMA}.vault_finite_time DROP CONSTRAINT vault_finite_time_check")
    execute(f"UPDATE {SCHEMA}.token SET expires_at = 'infinity', last_refreshed_at = '-infinity'")
    info = (await store.accounts.get(ACCESS)).row.info
    assert (info.expires_at.year, info.last_refreshed_at.year) == (9999, 1)
