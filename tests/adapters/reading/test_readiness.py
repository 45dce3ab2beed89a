"""`ready` answers within its timeout, and `health` within two seconds, whatever the database does."""

import asyncio
import sqlite3
import time
from datetime import timedelta

import psycopg
import pytest
from tests.support.fault_proxy import fault_proxy
from tests.support.postgres import start_postgres

from vault_adapters import Account, InvalidInputError, Readiness, TokenKind, open_sync_vault, open_vault

KEY = Account("t1", "acme").key(TokenKind.API_KEY)
READY = Readiness()


@pytest.fixture(scope="module")
def server():
    """Give a server that a test may stop."""
    with start_postgres(private=True) as started:
        yield started


async def timed(call):
    """Return what a call gave, and after how many seconds."""
    began = time.monotonic()
    return await call, time.monotonic() - began


async def check_away(vault, reason):
    """Assert that a vault names the cause in time while its database is away."""
    answers = await asyncio.gather(*(timed(vault.ready()) for _ in range(3)), timed(vault.ready(timeout=0.3)))
    for readiness, seconds in answers:
        assert not readiness.ok
        assert (readiness.schema, readiness.master_key) == (None, None)
        assert seconds < 2.0  # the default timeout of one second, and one more for a slow machine
    assert answers[3][1] < 1.3
    report, seconds = await timed(vault.health())
    assert seconds < 3.0
    assert (report.ok, report.store_error, report.counts, report.master_key_error) == (False, "storage", (), None)
    readiness, _ = await timed(vault.ready())
    assert readiness == Readiness(store=reason)
    assert report.store_reason in (reason, "shutting_down", "timeout")


async def check_back(vault):
    async with asyncio.timeout(30):
        while not (await vault.ready()).ok:  # noqa: ASYNC110 - the server tells nobody that it is back
            await asyncio.sleep(0.05)
    report = await vault.health()
    assert (report.ok, report.store_reason) == (True, None)


async def test_the_server_is_stopped_and_started(server, make_config):
    config = make_config(server.create_database("ready_stopped"))
    async with open_vault(config) as vault:
        await vault.store_token(KEY, "value")
        assert await vault.ready() == READY
        server.stop()
        try:
            await check_away(vault, "connection_refused")
        finally:
            server.start()
        await check_back(vault)


async def test_the_servers_processes_are_stopped(server, make_config):
    async with open_vault(make_config(server.create_database("ready_frozen"))) as vault:
        with server.suspended():
            await check_away(vault, "timeout")
        await check_back(vault)


async def test_packets_are_dropped(url, make_config):
    with fault_proxy(url) as proxy:
        async with open_vault(make_config(proxy.url)) as vault:
            proxy.freeze()
            await check_away(vault, "timeout")
            proxy.heal()
            await check_back(vault)


async def test_the_schema_is_older_or_missing(url, make_config):
    async with open_vault(make_config(url)) as vault:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("INSERT INTO token_vault.migration VALUES (99, 'newer', 'x', now(), 2)")
            assert await vault.ready() == READY  # a newer release is being rolled out
            connection.execute("DELETE FROM token_vault.migration WHERE number = 2")
            assert await vault.ready() == Readiness(schema="schema_outdated")
            connection.execute("DROP SCHEMA token_vault CASCADE")
            assert await vault.ready() == Readiness(schema="schema_outdated")


async def test_a_file_is_replaced_or_has_no_schema(tmp_path, make_config):
    path = tmp_path / "vault.db"
    async with open_vault(make_config(f"sqlite:///{path}")) as vault:
        assert await vault.ready() == READY
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("DROP TABLE token_vault_migration")
        other.close()
        assert await vault.ready() == Readiness(schema="schema_outdated")
        path.rename(tmp_path / "aside.db")
        await asyncio.sleep(0.2)
        assert await vault.ready() == Readiness(store="database_replaced")


async def test_the_timeout_is_checked(make_config):
    async with open_vault(make_config("sqlite:///:memory:")) as vault:
        assert await vault.ready(timeout=timedelta(seconds=1)) == READY
        with pytest.raises(InvalidInputError):
            await vault.ready(timeout=-1)


def test_a_sync_vault_that_cannot_be_opened(make_config):
    vault = open_sync_vault(make_config("postgresql://127.0.0.1:1/app"))
    try:
        assert vault.ready() == Readiness(store="connection_refused")
    finally:
        vault.close()
    with open_sync_vault(make_config("sqlite:///:memory:")) as vault:
        assert vault.ready(timeout=5) == READY
