"""What may go wrong around a call in the host's transaction, and what the call refuses."""

import asyncio
import sqlite3
import time
from datetime import UTC, datetime, timedelta

import aiosqlite
import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from tests.adapters.hosting.hosts import alchemy, alchemy_session, driver, names, sync_driver, table_of
from tests.adapters.hosting.test_host_transactions import NEW, OLD, account, config, insert, value
from tests.support.databases import PostgresSchema, SqliteFile
from tests.support.pgbouncer import start_pgbouncer

from vault_adapters import (
    GenerationConflictError,
    HostTransactionError,
    InvalidInputError,
    StorageError,
    TokenKind,
    TokenSet,
    open_sync_vault,
    open_vault,
)
from vault_adapters.providers import OAuth2Refresher
from vault_adapters.testing import ScriptedRefresher, memory_vault

LOCK_SECONDS = 4
"""The longest wait for a lock, after which the statement would end by itself."""

ACCESS = account().key(TokenKind.ACCESS_TOKEN)


async def refused(awaitable):
    """Return the reason of the refusal that a call raises."""
    with pytest.raises(HostTransactionError) as caught:
        await awaitable
    return caught.value.reason


async def events(vault):
    page = await vault.audit_events(tenant_id="t1")
    return [event.action.value for event in page.items]


# What follows the commit


async def test_reads_and_events_follow_the_commit(database):
    """A cached value is neither handed out after the commit nor replaced after a rollback, here and elsewhere."""
    told = []
    async with (
        open_vault(config(database), on_event=told.append) as vault,
        open_vault(config(database)) as other,
        driver(database) as (connection, _),
    ):
        await vault.store_token_set(account(), OLD)
        assert [await value(each) for each in (vault, other, vault, other)] == ["old"] * 4
        before, count = await events(vault), len(told)
        for is_kept in (False, True):
            await vault.on(connection).store_token_set(account(), NEW)
            assert [await value(each) for each in (vault, other)] == ["old"] * 2
            assert await events(vault) == before
            await (connection.commit() if is_kept else connection.rollback())
            assert await value(vault) == ("new" if is_kept else "old")
        async with asyncio.timeout(5):
            while await value(other) != "new":  # noqa: ASYNC110 - a notification is on its way
                await asyncio.sleep(0.01)
        assert await events(vault) == [*before, "token_stored", "token_stored"]
        assert len(told) == count


async def test_a_feed_gives_the_events_after_the_commit(database):
    async with open_vault(config(database)) as vault, driver(database) as (connection, _):
        feed = vault.event_feed(tenant_id="t1", interval=timedelta(seconds=60))
        await vault.on(connection).store_token(ACCESS, "rolled back")
        await connection.rollback()
        await vault.on(connection).store_token(ACCESS, "kept", label="a label")
        page = asyncio.create_task(anext(feed))
        await asyncio.sleep(0.5)
        assert not page.done()
        await connection.commit()
        async with asyncio.timeout(10):
            assert [event.generation for event in (await page).items] == [1]
        assert (await vault.get_account(ACCESS.account)).label == "a label"


async def test_a_commit_that_fails_stores_nothing(database):
    """A constraint that is checked at the commit takes the account away with the host's row."""
    table = table_of(database)
    reference = f"REFERENCES {table} (name) DEFERRABLE INITIALLY DEFERRED"
    database.execute(f"CREATE TABLE {table}_note (name text {reference})")
    try:
        async with open_vault(config(database)) as vault, driver(database) as (connection, execute):
            if database.kind == "sqlite":
                await execute("PRAGMA foreign_keys = ON")
            await execute(f"INSERT INTO {table}_note VALUES ('nobody')")
            await vault.on(connection).store_token_set(account(), NEW)
            with pytest.raises((sqlite3.IntegrityError, psycopg.errors.ForeignKeyViolation)):
                await connection.commit()
            await connection.rollback()
            assert await vault.get_account(account()) is None
            assert "token_stored" not in await events(vault)
    finally:
        database.execute(f"DROP TABLE {table}_note")


async def test_a_savepoint_of_the_host_takes_the_account_back(database):
    async with open_vault(config(database)) as vault, driver(database) as (connection, execute):
        await execute(insert(database))
        await execute("SAVEPOINT a")
        await vault.on(connection).store_token_set(account("bob"), NEW)
        await execute("SAVEPOINT b")
        await vault.on(connection).store_token_set(account("eve"), NEW)
        await execute("ROLLBACK TO SAVEPOINT b")
        await vault.on(connection).store_token_set(account("ada"), NEW)
        await execute("ROLLBACK TO SAVEPOINT a")
        await vault.on(connection).store_token_set(account("ada"), NEW)
        await connection.commit()
        assert [await value(vault, name) for name in ("ada", "bob", "eve")] == ["new", None, None]
        assert names(database) == {"ada"}


async def test_the_rules_of_times_see_what_the_transaction_has_written(database):
    """A lifetime is assumed only beside a refresh token, which only this transaction sees; the limit needs the time."""
    provider = OAuth2Refresher(
        "https://provider.invalid/token", "client", "secret", default_lifetime=timedelta(hours=2)
    )
    async with (
        open_vault(config(database), refreshers={"github": provider}) as vault,
        driver(database) as (connection, _),
    ):
        on = vault.on(connection)
        assert (await on.store_token(ACCESS, "alone")).expires_at is None
        await on.store_token(account().key(TokenKind.REFRESH_TOKEN), "r")
        info = await on.store_token(ACCESS, "beside a refresh token")
        assert info.lifetime == timedelta(hours=2)
        far = await on.store_token(ACCESS, "far", expires_at=datetime(2999, 1, 1, tzinfo=UTC))
        assert far.expires_at.year < 2200
        await connection.rollback()
        assert await vault.get_account(account()) is None


# What a failed call leaves behind


async def test_a_failed_call_leaves_the_transaction_usable(database):
    async with open_vault(config(database)) as vault, driver(database) as (connection, execute):
        await execute(insert(database))
        on = vault.on(connection)
        await on.store_token(ACCESS, "first")
        with pytest.raises(GenerationConflictError):
            await on.store_token(ACCESS, "second", expected_generation=7)
        with pytest.raises(InvalidInputError):
            await on.store_token(ACCESS, "x" * 70_000)
        with pytest.raises(InvalidInputError):
            await on.store_token_set("no account", NEW)
        info = await on.store_token(ACCESS, "third", expected_generation=1)
        await connection.commit()
        assert (info.generation, names(database)) == (2, {"ada"})
        assert (await vault.get_token(ACCESS)).value.reveal() == "third"


async def test_a_call_that_fails_after_it_has_written_leaves_nothing(database):
    """The event cannot be written; the data key of the new tenant and the value are gone with it."""
    if database.kind == "sqlite":
        when = "BEFORE INSERT ON {audit_event} WHEN NEW.action = 'token_stored'"
        rule = f"CREATE TRIGGER never {when} BEGIN SELECT RAISE(ABORT, 'x'); END"
    else:
        rule = "ALTER TABLE {audit_event} ADD CHECK (action <> 'token_stored') NOT VALID"
    async with open_vault(config(database)) as vault, driver(database) as (connection, execute):
        database.execute(rule)
        await execute(insert(database))
        for call in (
            vault.on(connection).store_token_set(account(), NEW),
            vault.on(connection).store_token(ACCESS, "v"),
        ):
            with pytest.raises(StorageError):
                await call
        await connection.commit()
    assert names(database) == {"ada"}
    for table in ("token", "data_key", "account"):
        assert database.execute(f"SELECT count(*) FROM {{{table}}}") == [(0,)]


async def test_the_host_s_settings_stay(database):
    async with open_vault(config(database)) as vault, driver(database) as (connection, execute):
        if database.kind == "sqlite":
            connection.row_factory, connection.text_factory = sqlite3.Row, bytes
            await execute("PRAGMA secure_delete = OFF")
            asked = "PRAGMA secure_delete"
        else:
            connection.row_factory = dict_row
            await execute("SET lock_timeout = '7s'; SET statement_timeout = '1min'")
            await execute('SET LOCAL search_path = "$user", public')
            names_ = ("search_path", "lock_timeout", "statement_timeout")
            asked = "SELECT " + ", ".join(f"current_setting('{name}') AS {name}" for name in names_)
        before = dict(await (await execute(asked)).fetchone())
        await vault.on(connection).store_token_set(account(), NEW)
        with pytest.raises(GenerationConflictError):
            await vault.on(connection).store_token(ACCESS, "v", expected_generation=7)
        assert dict(await (await execute(asked)).fetchone()) == before
        if database.kind == "postgres":
            [found] = await (await execute("SELECT count(*) AS kept FROM pg_prepared_statements")).fetchall()
            assert found == {"kept": 0}
        else:
            assert (connection.row_factory, connection.text_factory) == (sqlite3.Row, bytes)
        await connection.commit()
        assert await value(vault) == "new"


async def test_a_cancelled_call_leaves_nothing_running(database):
    """The call waits for a lock when it is cancelled; nothing of it is written later."""
    async with open_vault(config(database)) as vault, driver(database) as (connection, execute):
        await vault.store_token_set(account(), OLD)
        async with driver(database) as (other, hold):
            if database.kind == "sqlite":
                await hold("BEGIN IMMEDIATE")
            else:
                await hold(f"SELECT 1 FROM {database.schema}.token FOR UPDATE")
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await vault.on(connection).store_token_set(account(), NEW)
            if database.kind == "postgres":  # SQLite cannot end its wait for a lock
                assert time.monotonic() - began < LOCK_SECONDS
            await other.rollback()
        await connection.rollback()
        await execute(insert(database))
        await connection.commit()
        assert (await value(vault), names(database)) == ("old", {"ada"})
        await vault.on(connection).store_token_set(account(), NEW)
        await connection.commit()
        assert await value(vault) == "new"


async def test_a_host_may_prepare_every_statement(postgres):
    """Several statements in one text cannot be prepared."""
    database = PostgresSchema(postgres.url)
    opening = await psycopg.AsyncConnection.connect(database.url, prepare_threshold=0)
    async with open_vault(config(database)) as vault, opening as connection:
        for _ in range(3):
            await vault.on(connection).store_token_set(account(), NEW)
            await connection.rollback()
        await vault.on(connection).store_token_set(account(), NEW)
        await connection.commit()
        assert await value(vault) == "new"
    await asyncio.to_thread(delete_with_every_statement_prepared, database)
    database.drop()


def delete_with_every_statement_prepared(database):
    with open_sync_vault(config(database)) as vault, psycopg.connect(database.url, prepare_threshold=0) as connection:
        assert vault.on(connection).delete_account(account()).deleted == 2


async def test_a_call_takes_no_other_connection(postgres):
    """A host whose pool is the vault's too may hold all its connections while it calls the vault."""
    database = PostgresSchema(postgres.url)
    async with (
        AsyncConnectionPool(database.url, min_size=1, max_size=1, open=False) as pool,
        open_vault(config(database, read_cache=timedelta(0)), pool=pool) as vault,
    ):
        async with pool.connection() as connection:
            async with asyncio.timeout(2):
                await vault.on(connection).store_token_set(account(), NEW)
        assert await value(vault) == "new"
    database.drop()


async def test_the_host_may_be_behind_a_pooler_in_transaction_mode(postgres):
    database = PostgresSchema(postgres.url)
    with start_pgbouncer(postgres) as url:
        opening = await psycopg.AsyncConnection.connect(url, prepare_threshold=None)
        async with open_vault(config(database)) as vault, opening as connection:
            for number in range(8):  # psycopg would prepare a statement at its sixth use
                await vault.on(connection).store_token_set(account(), NEW)
                await (connection.rollback() if number % 2 else connection.commit())
            assert (await vault.get_token(ACCESS)).info.generation == 4
    database.drop()


# Data keys


async def test_the_data_key_of_a_new_tenant_belongs_to_the_transaction(database):
    """Nobody uses a data key that was rolled back; a second call of the transaction uses the first one's."""
    async with open_vault(config(database)) as vault, driver(database) as (connection, execute):
        await execute(insert(database))  # on SQLite, this holds the one lock of writers
        await vault.on(connection).store_token_set(account(), NEW)
        await vault.on(connection).store_token_set(account("bob"), NEW)
        await connection.rollback()
        assert database.execute("SELECT count(*) FROM {data_key}") == [(0,)]
        state = await vault.states.seal(account(), "x", bound_to="session")
        assert (await vault.states.open(state, bound_to="session")).tenant_id == "t1"
        await vault.store_token_set(account("eve"), OLD)
        assert await value(vault, "eve") == "old"
        await vault.on(connection).store_token_set(account(), NEW)
        await connection.commit()
        assert await value(vault) == "new"
        assert database.execute("SELECT count(*) FROM {data_key}") == [(1,)]


async def test_a_data_key_that_was_replaced_elsewhere_is_noticed(database):
    async with (
        open_vault(config(database)) as vault,
        open_vault(config(database)) as other,
        driver(database) as (connection, _),
    ):
        await vault.store_token_set(account(), OLD)
        await other.keys.rotate_data_key("t1")
        await vault.with_actor("ops").on(connection).store_token_set(account(), NEW)
        await connection.commit()
        assert await value(other) == "new"
        assert (await vault.latest_audit_events(account=account(), limit=1)).items[0].actor == "ops"
        assert (await vault.keys.status(tenant_id="t1")).tokens_to_reencrypt == 0


async def test_a_state_of_an_erased_tenant_is_refused(database):
    async with open_vault(config(database)) as vault, driver(database) as (connection, _):
        state = await vault.states.seal(account(), "x", bound_to="session")
        opened = await vault.states.open(state, bound_to="session")
        await vault.on(connection).store_token_set(account(), NEW, state=opened)
        await connection.rollback()
        await vault.erase_tenant("t1")
        with pytest.raises(Exception, match="state") as caught:
            await vault.on(connection).store_token_set(account(), NEW, state=opened)
        assert caught.value.code == "state_refused"
        await connection.commit()
        assert await vault.get_account(account()) is None


@pytest.mark.parametrize("commits", [True, False])
async def test_an_erasure_waits_for_the_first_value_of_a_tenant(database, commits):
    async with open_vault(config(database)) as vault, driver(database) as (connection, _):
        await vault.on(connection).store_token_set(account(), NEW)
        erasing = asyncio.create_task(vault.erase_tenant("t1"))
        done, _ = await asyncio.wait([erasing], timeout=0.3)
        assert not done
        await (connection.commit() if commits else connection.rollback())
        assert (await erasing).tokens == 2 * commits
        assert database.execute("SELECT count(*) FROM {token}") == [(0,)]
        assert database.execute("SELECT count(*) FROM {data_key} WHERE state = 'active'") == [(0,)]
        await vault.store_token_set(account(), OLD)
        assert await value(vault) == "old"


# Two writers


async def test_two_hosts_write_one_account_one_after_the_other(database):
    async with (
        open_vault(config(database)) as vault,
        driver(database) as (one, _),
        driver(database) as (two, _),
    ):
        await vault.on(one).store_token_set(account(), TokenSet("one", expires_in=3600))
        second = asyncio.create_task(vault.on(two).store_token_set(account(), TokenSet("two", expires_in=3600)))
        await asyncio.sleep(0.3)
        assert not second.done()
        await one.commit()
        await second
        await two.commit()
        assert await value(vault) == "two"
        assert (await vault.get_token(ACCESS)).info.generation == 2


async def test_a_writer_that_waits_too_long_gets_one_error(database):
    """Neither the vault's own call nor another host waits for ever for a host that does not commit."""
    short = config(database, storage_timeout=timedelta(seconds=1))
    async with open_vault(short) as vault, driver(database) as (one, _), driver(database) as (two, execute):
        await vault.store_token_set(account(), OLD)
        await vault.on(one).store_token_set(account(), NEW)
        if database.kind == "sqlite":
            await execute("PRAGMA busy_timeout = 500")
        for call in (vault.store_token_set(account(), OLD), vault.on(two).store_token_set(account(), OLD)):
            with pytest.raises(StorageError) as caught:
                await call
            assert (caught.value.retryable, caught.value.reason) == (True, "locked")
        await two.rollback()
        await one.commit()
        assert await value(vault) == "new"


async def test_a_conflict_under_an_old_snapshot_is_not_hidden(postgres):
    """Only the host can begin again, because what it has read itself is old too."""
    database = PostgresSchema(postgres.url)
    async with open_vault(config(database)) as vault, driver(database) as (connection, execute):
        await vault.store_token_set(account(), OLD)
        for is_there in (True, False):
            name = "ada" if is_there else "bob"
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            await execute("SELECT 1")
            await vault.store_token_set(account(name), OLD)
            with pytest.raises(StorageError) as caught:
                await vault.on(connection).store_token_set(account(name), NEW)
            assert (caught.value.reason, caught.value.retryable) == ("40001", True)
            await execute("SELECT 1")
            await connection.rollback()
            await vault.on(connection).store_token_set(account(name), NEW)
            await connection.commit()
            assert await value(vault, name) == "new"
    database.drop()


async def test_a_deferred_transaction_of_sqlite_takes_the_lock_before_it_reads(tmp_path):
    database = SqliteFile(tmp_path / "app.db")
    async with open_vault(config(database)) as vault, aiosqlite.connect(database.path, isolation_level=None) as host:
        await host.execute("BEGIN")
        await vault.store_token_set(account("bob"), OLD)
        await vault.on(host).store_token_set(account(), NEW)
        await host.execute("COMMIT")
        assert await value(vault) == "new"


async def test_a_host_may_read_on_beside_the_call(tmp_path):
    """SQLite refuses to replace a function while a statement runs, and the host's loop over its rows is one."""
    database = SqliteFile(tmp_path / "app.db")
    async with open_vault(config(database)) as vault, driver(database) as (connection, execute):
        await execute("CREATE TABLE customer (name text)")
        await connection.executemany("INSERT INTO customer VALUES (?)", [(f"user-{number}",) for number in range(300)])
        async with connection.execute("SELECT name FROM customer") as rows:
            connection._iter_chunk_size = 1
            seen = 0
            async for (name,) in rows:
                seen += 1
                if seen % 100 == 0:
                    await vault.on(connection).store_token_set(account(name), NEW)
                    with pytest.raises(GenerationConflictError):
                        await vault.on(connection).store_token(ACCESS, "v", expected_generation=7)
        await connection.commit()
        assert seen == 300
        assert len([info async for info in vault.iter_accounts("t1")]) == 3


async def test_the_last_use_goes_with_the_token_where_foreign_keys_are_off(tmp_path):
    database = SqliteFile(tmp_path / "app.db")
    async with open_vault(config(database)) as vault:
        await vault.store_token_set(account(), OLD)
        await vault.get_token(ACCESS)
    assert database.execute("SELECT count(*) FROM {token_use}") == [(1,)]
    async with open_vault(config(database)) as vault, driver(database) as (connection, execute):
        assert [tuple(row) for row in await (await execute("PRAGMA foreign_keys")).fetchall()] == [(0,)]
        await vault.on(connection).delete_account(account())
        await connection.commit()
    assert database.execute("SELECT count(*) FROM {token_use}") == [(0,)]


# What is refused


async def test_an_account_that_is_being_refreshed_is_refused(database):
    provider = ScriptedRefresher(timedelta(seconds=1), TokenSet("refreshed", refresh_token="r2", expires_in=3600))
    async with (
        open_vault(config(database), refreshers={"github": provider}) as vault,
        driver(database) as (connection, _),
    ):
        await vault.store_token_set(account(), OLD)
        refresh = asyncio.create_task(vault.refresh_account(account()))
        while not provider.calls:  # noqa: ASYNC110 - the refresher has no event
            await asyncio.sleep(0.01)
        on = vault.on(connection)
        with pytest.raises(HostTransactionError) as caught:
            await on.store_token_set(account(), NEW)
        assert (caught.value.reason, caught.value.retryable, caught.value.account) == ("refreshing", True, account())
        assert await refused(on.delete_account(account())) == "refreshing"
        assert await refused(on.store_token(ACCESS, "v")) == "refreshing"
        await on.store_token_set(account("bob"), NEW)
        await connection.commit()
        await refresh
        assert await value(vault) == "refreshed"
        await on.store_token_set(account(), NEW)
        await connection.commit()
        assert await value(vault) == "new"


async def test_no_other_call_is_part_of_it(database):
    async with open_vault(config(database)) as vault, driver(database) as (connection, _):
        on = vault.on(connection)
        for name in ("get_access_token", "ensure_access_token", "refresh_account", "erase_tenant", "keys"):
            with pytest.raises(HostTransactionError) as caught:
                getattr(on, name)
            assert caught.value.reason == "not_part"
        with pytest.raises(TypeError):
            await on.delete_account(account(), revoke=True)


async def test_another_database_is_refused(database, tmp_path, postgres):
    if database.kind == "sqlite":
        others = [SqliteFile(tmp_path / "other.db")]
        others[0].execute("CREATE TABLE x (a)")
    else:
        others = [PostgresSchema(postgres.create_database(f"other_{database.schema}"), database.schema)]
    async with open_vault(config(database)) as vault:
        for other in others:
            async with open_vault(config(other)), driver(other) as (connection, execute):
                assert await refused(vault.on(connection).store_token_set(account(), NEW)) == "other_database"
                await execute("SELECT 1")
        assert await vault.get_account(account()) is None


async def test_a_file_that_was_replaced_is_noticed(tmp_path):
    """The host's new connection is to the new file, and the vault still has the deleted one."""
    database, other = SqliteFile(tmp_path / "app.db"), SqliteFile(tmp_path / "other.db")
    async with open_vault(config(database)) as vault:
        async with open_vault(config(other)):
            pass
        (tmp_path / "app.db").unlink()
        (tmp_path / "other.db").rename(tmp_path / "app.db")
        async with driver(database) as (connection, _):
            with pytest.raises(StorageError) as caught:
                await vault.on(connection).store_token_set(account(), NEW)
            assert caught.value.code == "database_replaced"


async def test_a_connection_in_no_transaction_is_refused(database):
    if database.kind == "sqlite":
        opening = aiosqlite.connect(database.path, isolation_level=None)
    else:
        opening = await psycopg.AsyncConnection.connect(database.url, autocommit=True)
    async with open_vault(config(database)) as vault, opening as connection:
        assert await refused(vault.on(connection).store_token_set(account(), NEW)) == "no_transaction"
        await connection.execute("BEGIN")
        await vault.on(connection).store_token_set(account(), NEW)
        await connection.execute("COMMIT")
        assert await value(vault) == "new"


async def test_a_connection_in_use_is_refused(database):
    async with open_vault(config(database)) as vault, driver(database) as (connection, _):
        on = vault.on(connection)
        calls = [on.store_token_set(account(name), NEW) for name in ("ada", "bob")]
        found = await asyncio.gather(*calls, return_exceptions=True)
        [refusal] = [each for each in found if isinstance(each, Exception)]
        assert (type(refusal), refusal.reason) == (HostTransactionError, "busy_connection")
        await connection.commit()
        if database.kind == "postgres":
            async with connection.pipeline():
                assert await refused(on.store_token_set(account(), NEW)) == "busy_connection"


async def test_a_failed_or_read_only_transaction_is_refused(postgres):
    database = PostgresSchema(postgres.url)
    async with open_vault(config(database)) as vault, driver(database) as (connection, execute):
        with pytest.raises(psycopg.errors.DivisionByZero):
            await execute("SELECT 1 / 0")
        assert await refused(vault.on(connection).store_token_set(account(), NEW)) == "failed_transaction"
        await connection.rollback()
        await execute("SET TRANSACTION READ ONLY")
        assert await refused(vault.on(connection).store_token_set(account(), NEW)) == "read_only"
        await execute("SELECT 1")
    database.drop()


async def test_a_closed_connection_is_a_failure_of_the_database(database):
    async with open_vault(config(database)) as vault:
        async with driver(database) as (connection, _):
            pass
        with pytest.raises(StorageError):
            await vault.on(connection).store_token_set(account(), NEW)


def refusal_of(on):
    with pytest.raises(HostTransactionError) as caught:
        on.store_token_set(account(), NEW)
    return caught.value.reason


async def test_other_objects_are_refused(database):
    """An object that is no connection may be a URL with a password; it is refused before anything can fail with it."""
    async with open_vault(config(database)) as vault:
        with sync_driver(database) as (connection, _):
            assert await refused(vault.on(connection).store_token_set(account(), NEW)) == "connection"
        async with alchemy_session(database) as (session, _), alchemy(database) as (connection, _):
            for wrong in (session, connection):
                sync = open_sync_vault(config(database))
                assert await asyncio.to_thread(refusal_of, sync.on(wrong)) == "connection"
                await asyncio.to_thread(sync.close)
        for wrong in (object(), None, "a string", {}):
            with pytest.raises(HostTransactionError) as caught:
                vault.on(wrong)
            assert caught.value.reason == "connection"
    sync = open_sync_vault(config(database))
    with pytest.raises(HostTransactionError) as caught:
        sync.on("a string")
    assert caught.value.reason == "connection"


async def test_a_vault_in_memory_has_no_host(tmp_path):
    async with memory_vault() as vault, aiosqlite.connect(tmp_path / "x.db") as connection:
        assert await refused(vault.on(connection).store_token_set(account(), NEW)) == "store"
