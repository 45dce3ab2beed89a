"""A `SyncVault` runs the host's statements in the caller's thread, and an interrupt ends the call."""

import os
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from tests.adapters.hosting.hosts import names, sync_driver
from tests.adapters.hosting.test_host_transactions import NEW, OLD, account, config, insert
from tests.support.databases import SqliteFile

from vault_adapters import ConfigurationError, HostTransactionError, StorageError, open_sync_vault


def stored(vault, name="ada"):
    token = vault.get_access_token(account(name))
    return None if token is None else token.token.value.reveal()


def test_the_statements_run_in_the_callers_thread(tmp_path):
    database, seen = SqliteFile(tmp_path / "app.db"), set()
    with open_sync_vault(config(database)) as vault, sync_driver(database) as (connection, _):
        connection.set_trace_callback(lambda _: seen.add(threading.current_thread()))
        vault.on(connection).store_token_set(account(), NEW)
        connection.commit()
    assert seen == {threading.current_thread()}


def test_many_threads_write_each_in_its_own_transaction(database):
    def write(number):
        with sync_driver(database) as (connection, execute):
            name = f"user-{number}"
            if database.kind == "sqlite":
                connection.execute("PRAGMA busy_timeout = 60000")
            vault.on(connection).store_token_set(account(name), NEW)
            execute(insert(database, name))
            (connection.commit if number % 3 else connection.rollback)()

    with open_sync_vault(config(database)) as vault, ThreadPoolExecutor(8) as pool:
        vault.store_token_set(account(), OLD)  # the tenant has a data key, for which nobody has to wait
        list(pool.map(write, range(24)))
        kept = {f"user-{number}" for number in range(24) if number % 3}
        assert names(database) == kept
        assert {each.account.identifier for each in vault.iter_accounts("t1")} == kept | {"ada"}


def test_an_interrupt_ends_the_call_and_the_vault_goes_on(database):
    """The call waits for a lock when Ctrl-C comes; nothing of it is written, and closing does not hang."""
    with open_sync_vault(config(database)) as vault:
        vault.store_token_set(account(), OLD)
        with sync_driver(database) as (connection, _), sync_driver(database) as (holder, hold):
            if database.kind == "sqlite":
                hold("BEGIN IMMEDIATE")
            else:
                hold(f"SELECT 1 FROM {database.schema}.token FOR UPDATE")
            timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises((KeyboardInterrupt, StorageError)):  # SQLite notices it only when its wait has ended
                vault.on(connection).store_token_set(account(), NEW)
            timer.join()
            holder.rollback()
            connection.rollback()
            assert stored(vault) == "old"
            vault.on(connection).store_token_set(account(), NEW)
            connection.commit()
            assert stored(vault) == "new"


def test_a_connection_that_loses_its_server_stores_nothing(postgres):
    from tests.support.databases import PostgresSchema

    database = PostgresSchema(postgres.url)
    with open_sync_vault(config(database)) as vault, sync_driver(database) as (connection, execute):
        execute("SELECT 1")
        with psycopg.connect(database.url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        with pytest.raises(StorageError) as caught:
            vault.on(connection).store_token_set(account(), NEW)
        assert (caught.value.retryable, caught.value.in_doubt) == (True, False)
        assert stored(vault) is None
    database.drop()


async def test_an_event_loop_is_refused(tmp_path):
    vault, connection = open_sync_vault(config(SqliteFile(tmp_path / "app.db"))), sqlite3.connect(":memory:")
    with pytest.raises(ConfigurationError, match=r"await vault\.on\(\.\.\.\)\.store_token_set") as caught:
        vault.on(connection).store_token_set(account(), NEW)
    assert caught.value.code == "running_event_loop"
    connection.close()


def test_a_transaction_on_a_connection_without_transactions_is_refused(tmp_path):
    database = SqliteFile(tmp_path / "app.db")
    with open_sync_vault(config(database)) as vault:
        connection = sqlite3.connect(database.path, isolation_level=None)
        with pytest.raises(HostTransactionError) as caught:
            vault.on(connection).delete_account(account())
        assert caught.value.reason == "no_transaction"
        connection.close()


def test_a_closed_vault_refuses(tmp_path):
    vault = open_sync_vault(config(SqliteFile(tmp_path / "app.db")))
    vault.close()
    connection = sqlite3.connect(tmp_path / "app.db")
    with pytest.raises(ConfigurationError) as caught:
        vault.on(connection).delete_account(account())
    connection.close()
    assert caught.value.code == "vault_closed"
