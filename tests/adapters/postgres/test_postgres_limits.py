"""Nothing waits for ever: frozen servers, locks that nobody releases, standbys, and the time after an outage."""

import asyncio
import os
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import uuid4

import psycopg
import psycopg_pool.base
import pytest
from psycopg_pool import AsyncConnectionPool
from tests.adapters.postgres.samples import ACCESS, ACCOUNT, REFRESH, SCHEMA, prepare, write
from tests.support.fault_proxy import fault_proxy
from tests.support.pgbouncer import start_pgbouncer
from tests.support.postgres import start_postgres

from vault_adapters.stores.postgres.limits import OverdueError, Pace, answered
from vault_adapters.stores.postgres.store import open_postgres_store
from vault_domain.entities.attempt import Attempt
from vault_domain.entities.errors import StorageError
from vault_domain.entities.token import TokenRef
from vault_domain.services.refresh.attempt_ledger import AttemptLedger
from vault_domain.services.tokens.account_changes import AccountChanges

pytestmark = pytest.mark.processes

SHORT = timedelta(seconds=1)
GENEROUS_SECONDS = 25


@pytest.fixture(scope="module")
def server():
    """Give a server that a test may freeze."""
    with start_postgres(private=True) as started:
        yield started


@pytest.fixture
def own_url(server, request):
    return server.create_database(f"limits_{abs(hash(request.node.name))}")


@asynccontextmanager
async def opened(way, server, url):
    """Open a store with a short limit: on its own connections, on a host's, or through a pooler."""
    if way == "host":
        async with (
            AsyncConnectionPool(url, kwargs={"autocommit": True}, min_size=2, open=False) as pool,
            open_postgres_store("", migrate=True, pool=pool, timeout=SHORT) as store,
        ):
            yield store
    elif way == "pooler":
        with start_pgbouncer(server, database=url.split("?")[0].rsplit("/", 1)[1]) as pooled:
            async with open_postgres_store(pooled, migrate=True, prepare=False, timeout=SHORT) as store:
                yield store
    else:
        async with open_postgres_store(url, migrate=True, timeout=SHORT) as store:
            yield store


async def refused(*works):
    """Assert that each call raises a retryable error in a reasonable time; return the errors' reasons."""
    async with asyncio.timeout(GENEROUS_SECONDS):
        errors = await asyncio.gather(*(work() for work in works), return_exceptions=True)
    assert all(isinstance(error, StorageError) and error.retryable for error in errors), errors
    assert all(error.__cause__ is error.__context__ is None for error in errors)
    return [error.reason for error in errors]


async def stored_at_last(store):
    """Store a token; retry after each error, as a caller would."""
    while True:
        try:
            return await store.accounts.store([write()], actor=None)
        except StorageError:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("way", ["own", "host", "pooler"])
async def test_a_frozen_server_holds_nobody_and_is_used_again_at_once(server, own_url, way):
    async with opened(way, server, own_url) as store:
        await prepare(store)
        await store.accounts.store([write()], actor=None)
        works = [
            lambda: store.accounts.get(ACCESS),
            lambda: store.accounts.store([write()], actor=None),
            lambda: AccountChanges(store.accounts, uuid4).store_set(
                ACCOUNT, [write(), write(REFRESH)], label=None, actor=None
            ),
            store.upkeep.ping,
        ]
        started = (await store.accounts.read(ACCOUNT)).store_since
        with server.suspended():
            await refused(*works)
            await refused(*works)  # no connection is left, and no new one can be made
        async with asyncio.timeout(GENEROUS_SECONDS):
            await stored_at_last(store)
        snapshot = await store.accounts.read(ACCOUNT)
        assert started < snapshot.store_since <= snapshot.now
        assert snapshot.now - snapshot.store_since < timedelta(seconds=GENEROUS_SECONDS)


async def test_an_answer_that_lies_in_the_socket_is_read_however_late(store, url):
    async with open_postgres_store(url, migrate=False, timeout=timedelta(seconds=0.5), pool_size=1) as short:
        database = short.accounts._database
        running = asyncio.create_task(database.write("SELECT pg_backend_pid(), pg_sleep(0.1)", {}))
        await asyncio.sleep(0.05)
        time.sleep(1.5)  # noqa: ASYNC251 - as if the process were stopped
        [(session, _)] = await running
        assert await database.write("SELECT pg_backend_pid()", {}) == [(session,)]  # the connection was kept, too


async def test_a_statement_ends_although_the_event_loop_is_always_late(url):
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        waiting = asyncio.create_task(
            answered(connection, 0.1, connection.execute(f"SELECT pg_sleep({GENEROUS_SECONDS})"))
        )
        began = time.monotonic()
        while not waiting.done() and time.monotonic() - began < GENEROUS_SECONDS / 2:
            await asyncio.sleep(0)
            time.sleep(0.8)  # noqa: ASYNC251 - something keeps the event loop busy
        with pytest.raises(OverdueError):
            await waiting
        assert time.monotonic() - began < GENEROUS_SECONDS / 2


async def test_each_statement_of_a_connection_has_its_own_limit(url):
    """A timer of an earlier statement neither cuts a later one nor lets it take longer than its own limit."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await answered(connection, 0.05, connection.execute("SELECT 1"))
        await answered(connection, 60, connection.execute("SELECT pg_sleep(0.2)"))
        began = time.monotonic()
        with pytest.raises(OverdueError):
            await answered(connection, 0.1, connection.execute(f"SELECT pg_sleep({GENEROUS_SECONDS})"))
        assert time.monotonic() - began < GENEROUS_SECONDS
        assert connection.closed


async def test_work_on_many_rows_has_a_limit_of_its_own(store, url):
    async with open_postgres_store(url, migrate=False, timeout=timedelta(seconds=0.5)) as short:
        database = short.accounts._database
        slow = "SELECT pg_sleep(0.8)"
        ways = (
            lambda pace: database.write(slow, {}, pace=pace),
            lambda pace: database.fetch(slow, pace=pace),
            lambda pace: database.transact(lambda transaction: transaction.fetch(slow), pace=pace),
        )
        await asyncio.gather(*(way(pace) for way in ways for pace in (Pace.BULK, Pace.MIGRATION)))
        assert await refused(lambda: database.fetch("SELECT pg_sleep(9)")) == ["timeout"]


async def test_a_statement_that_the_server_ended_may_be_repeated(url):
    async with open_postgres_store(f"{url}&options=-cstatement_timeout%3D900ms", migrate=True) as store:
        assert await refused(lambda: store.accounts._database.fetch("SELECT pg_sleep(9)")) == ["timeout"]


async def test_the_server_ends_a_statement_before_its_connection_is_dropped(store, url):
    async with open_postgres_store(url, migrate=False, timeout=SHORT, pool_size=1) as short:
        slow = short.accounts._database.transact(lambda transaction: transaction.fetch("SELECT pg_sleep(9)"))
        assert await refused(lambda: slow) == ["timeout"]
        [connection] = short.accounts._database._connections._plain
        assert not connection.closed


@pytest.mark.parametrize("work", ["single", "transaction", "erasure"])
async def test_a_lock_that_nobody_releases_is_not_waited_for(store, url, raw, work):
    await prepare(store)
    await store.accounts.store([write()], actor=None)
    works = {
        "single": lambda each: each.accounts.store([write()], actor=None),
        "transaction": lambda each: AccountChanges(each.accounts, uuid4).delete_token(ACCESS, actor=None),
        "erasure": lambda each: each.accounts.erase("acme", actor=None),
    }
    await raw.execute("BEGIN")
    await raw.execute(f"SELECT FROM {SCHEMA}.token, {SCHEMA}.data_key FOR UPDATE")
    async with open_postgres_store(url, migrate=False, timeout=SHORT) as short:
        # The server ends the wait, so that it does not go on after its caller has left.
        assert await refused(lambda: works[work](short)) == ["locked"]
        await raw.execute("ROLLBACK")
        await works[work](short)


async def test_a_holder_that_was_stopped_loses_its_locks(store, url):
    await prepare(store)
    await store.accounts.store([write()], actor=None)
    holds, is_over = asyncio.Event(), asyncio.Event()

    async def stop_with_a_lock(transaction):
        await transaction.fetch(f"SELECT generation FROM {SCHEMA}.token FOR UPDATE")
        holds.set()
        await is_over.wait()
        await transaction.fetch("SELECT 1")

    async with open_postgres_store(url, migrate=False, timeout=SHORT) as short:
        holder = asyncio.create_task(short.accounts._database.transact(stop_with_a_lock))
        await holds.wait()
        try:
            async with asyncio.timeout(GENEROUS_SECONDS):
                await store.accounts.store([write()], actor=None)
        finally:
            is_over.set()
        assert await refused(lambda: holder) == ["timeout"]


async def test_a_claim_that_waited_longer_than_its_caller_is_released(store, url, raw):
    await prepare(store)
    await AccountChanges(store.accounts, uuid4).store_set(ACCOUNT, [write(), write(REFRESH)], label="Ann", actor=None)
    attempt = await unclaimed_of(store)
    await raw.execute("BEGIN")
    await raw.execute(f"SELECT FROM {SCHEMA}.account FOR UPDATE")
    async with (
        AsyncConnectionPool(url, kwargs={"autocommit": True}, min_size=1, open=False) as pool,
        open_postgres_store("", migrate=False, pool=pool, timeout=SHORT) as short,
    ):
        await refused(lambda: AttemptLedger(short.accounts).claim(attempt, None))
        released = asyncio.create_task(AttemptLedger(store.accounts).withdraw(attempt, None))
        await asyncio.sleep(0.3)
        await raw.execute("COMMIT")
        await released
    snapshot = await store.accounts.read(ACCOUNT)
    assert snapshot.record.refresh.attempt_id == attempt.attempt_id
    assert snapshot.record.refresh.lease_until is None


async def unclaimed_of(store):
    tokens = (await store.accounts.read(ACCOUNT)).record.tokens
    credential, access = TokenRef.of(tokens[REFRESH.kind]), TokenRef.of(tokens[ACCESS.kind])
    return Attempt(ACCOUNT, uuid4(), credential, access, datetime.now(UTC), timedelta(seconds=20))


async def test_after_an_outage_the_pool_does_not_wait_longer_the_longer_it_was(server, own_url, monkeypatch):
    monkeypatch.setattr(psycopg_pool.base.AttemptWithBackoff, "DELAY_BACKOFF", 1000.0)
    async with open_postgres_store(own_url, migrate=True, timeout=SHORT, pool_size=3) as store:
        await prepare(store)
        server.stop("fast")
        end = time.monotonic() + 2
        while time.monotonic() < end:
            await refused(store.upkeep.ping)
        server.start()
        async with asyncio.timeout(5):
            await stored_at_last(store)


async def test_a_standby_is_left_for_the_primary():
    with start_postgres(private=True) as server:
        async with open_postgres_store(server.url, migrate=True, pool_size=1) as store:
            await prepare(store)
        server.stop("fast")
        (server.data_dir / "standby.signal").touch()
        owner = server.data_dir.stat()
        os.chown(server.data_dir / "standby.signal", owner.st_uid, owner.st_gid)
        server.start()
        place = quote(str(server.data_dir.parent))
        several = server.url.replace(place, f"{place},{place}")
        with pytest.raises(StorageError) as caught:  # given several hosts, the store wants one that takes writes
            async with open_postgres_store(several, migrate=False):
                pass
        assert caught.value.reason == "read_only"
        async with open_postgres_store(f"{several}&target_session_attrs=any&connect_timeout=7", migrate=False) as store:
            await store.accounts.get(ACCESS)
            [connection] = store.accounts._database._connections._plain
            assert connection.info.get_parameters()["connect_timeout"] == "7"
        async with open_postgres_store(server.url, migrate=False, pool_size=1) as store:
            for work in (
                lambda: store.accounts.store([write()], actor=None),
                lambda: AccountChanges(store.accounts, uuid4).store_set(ACCOUNT, [write()], label=None, actor=None),
            ):
                assert await refused(store.upkeep.ping) == ["read_only"]
                await store.accounts.get(ACCESS)
                [connection] = [each for each in store.accounts._database._connections._plain if not each.closed]
                assert await refused(work) == ["read_only"]
                assert connection.closed
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute("SELECT pg_promote()")
            await store.accounts.store([write()], actor=None)


async def test_connections_notice_a_dead_peer_unless_the_url_says_how(url):
    async def parameters(target):
        async with open_postgres_store(target, migrate=True, timeout=SHORT, pool_size=1) as store:
            await store.upkeep.ping()
            [connection] = store.accounts._database._connections._plain
            rows = await store.accounts._database.fetch(
                "SELECT current_setting('lock_timeout'), current_setting('TimeZone')"
            )
            return connection.info.get_parameters(), rows

    own, rows = await parameters(url)
    assert (own["keepalives_idle"], own["tcp_user_timeout"], own["connect_timeout"]) == ("10", "1000", "2")
    assert rows[0][0] == "800ms"
    theirs, rows = await parameters(
        f"{url}&keepalives_idle=99&tcp_user_timeout=7&connect_timeout=9&options=-clock_timeout%3D5s%20-cTimeZone%3DUTC"
    )
    assert (theirs["keepalives_idle"], theirs["tcp_user_timeout"], theirs["connect_timeout"]) == ("99", "7", "9")
    assert rows == [("5s", "UTC")]


async def test_the_first_of_several_hosts_is_frozen_or_a_standby(own_url, server):
    """A host gets two seconds to answer. The store uses the host that takes writes, even after the hosts swap roles."""
    database = own_url.split("?")[0].rsplit("/", 1)[1]
    with fault_proxy(own_url) as frozen_one, fault_proxy(own_url) as working:
        both = ",".join(proxy.url.rpartition("@")[2].partition("/")[0] for proxy in (frozen_one, working))
        url = f"postgresql://postgres@{both}/{database}"
        frozen_one.freeze()
        async with asyncio.timeout(GENEROUS_SECONDS), open_postgres_store(url, migrate=True, pool_size=1) as store:
            await prepare(store)
            await store.accounts.store([write()], actor=None)
            [connection] = [each for each in store.accounts._database._connections._plain if not each.closed]
            parameters = connection.info.get_parameters()
            assert parameters["connect_timeout"] == "2"
            working.refuse()
            frozen_one.heal()
            await stored_at_last(store)
