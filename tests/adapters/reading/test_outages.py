"""While the database hangs or is away, a process returns the tokens that it has seen, and no others."""

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.fault_proxy import fault_proxy
from tests.support.postgres import start_postgres
from tests.support.processes import Script, start_processes

from vault_adapters import Account, StorageError, TokenKind, TokenSet, open_vault
from vault_adapters.testing import ScriptedRefresher

pytestmark = pytest.mark.processes

SEEN, UNSEEN, DUE = Account("t1", "acme", "seen"), Account("t1", "acme", "unseen"), Account("t1", "acme", "due")
GENEROUS_SECONDS = 4.0  # a reader waits for a second; without the memory, it would wait for five
LIMIT = timedelta(seconds=5)


def answer(number):
    return TokenSet(f"access-{number}", f"refresh-{number}", expires_in=3600)


@asynccontextmanager
async def seen_vault(config):
    """Open a vault whose process has seen the tokens of two accounts, and not that of a third one."""
    async with open_vault(config) as other:
        await other.store_token_set(UNSEEN, answer(7))
    async with open_vault(config, refreshers={"acme": ScriptedRefresher(answer(1))}) as vault:
        await vault.store_token_set(SEEN, answer(0))
        soon = datetime.now(UTC) + timedelta(minutes=4)  # within the refresh buffer
        await vault.store_token_set(DUE, TokenSet("access-0", "refresh-0", expires_at=soon))
        yield vault


async def in_time(call):
    """Return the value of a call's token, and whether the call took less than `GENEROUS_SECONDS`."""
    started = time.monotonic()
    token = await call
    token = getattr(token, "token", token)
    return token.value.reveal(), time.monotonic() - started < GENEROUS_SECONDS


async def one_of_many(vault, keys):
    return (await vault.get_tokens(keys))[keys[0]]


async def check_outage(vault):
    """Ask for every token in every way while the database does not answer."""
    key = SEEN.key(TokenKind.ACCESS_TOKEN)
    calls = [vault.get_token(key), vault.get_access_token(SEEN), vault.ensure_access_token(SEEN)]
    assert await asyncio.gather(*map(in_time, calls)) == [("access-0", True)] * 3
    assert await in_time(vault.ensure_access_token(SEEN, timeout=1)) == ("access-0", True)
    many, in_a_second = await in_time(one_of_many(vault, [key]))
    assert (many, in_a_second) == ("access-0", True)
    started = time.monotonic()
    missed = vault.ensure_access_token(UNSEEN), vault.get_token(key, fresh=True)
    missed += (vault.get_tokens([key, UNSEEN.key(TokenKind.ACCESS_TOKEN)]),)
    failures = await asyncio.gather(*missed, return_exceptions=True)
    assert [(type(failure), failure.retryable) for failure in failures] == [(StorageError, True)] * 3
    assert time.monotonic() - started < 2 * LIMIT.total_seconds()


async def check_after(vault):
    """Check that the vault works again by itself once the database is back."""
    async with asyncio.timeout(60):
        while True:
            try:
                assert (await vault.ensure_access_token(UNSEEN)).value.reveal() == "access-7"
                if (await vault.ensure_access_token(DUE)).value.reveal() == "access-1":
                    return
            except StorageError:
                await asyncio.sleep(0.05)


async def test_while_nothing_comes_through(url, make_config):
    with fault_proxy(url) as proxy:
        async with seen_vault(make_config(proxy.url)) as vault:
            proxy.freeze()
            assert await in_time(vault.ensure_access_token(DUE)) == ("access-0", True)
            await check_outage(vault)
            proxy.heal()
            await check_after(vault)


async def test_while_connections_are_refused(url, make_config):
    with fault_proxy(url) as proxy:
        async with seen_vault(make_config(proxy.url)) as vault:
            proxy.refuse()
            await check_outage(vault)
            proxy.heal()
            await check_after(vault)


@pytest.fixture(scope="module")
def server():
    """Give a server that a test may stop."""
    with start_postgres(private=True) as started:
        yield started


async def test_while_the_servers_processes_are_stopped(server, make_config):
    async with seen_vault(make_config(server.create_database("stopped"))) as vault:
        with server.suspended():
            await check_outage(vault)
        await check_after(vault)


async def test_while_the_server_is_down(server, make_config):
    async with seen_vault(make_config(server.create_database("down"))) as vault:
        server.stop()
        try:
            await check_outage(vault)
        finally:
            server.start()
        await check_after(vault)


_LOCK_READERS_OUT = """
import fcntl, sys, time
# The bytes of the locks that readers need, in the format of SQLite's shared memory.
shared = open(sys.argv[1] + "-shm", "r+b")
fcntl.lockf(shared, fcntl.LOCK_EX, 8, 120)
print("locked", flush=True)
time.sleep(600)
"""


async def test_while_another_process_locks_sqlite_exclusively(tmp_path, make_config):
    path = tmp_path / "vault.db"
    async with seen_vault(make_config(f"sqlite:///{path}")) as vault:
        with start_processes([Script(_LOCK_READERS_OUT, [str(path)])]) as group:
            group.go()
            group[0].wait_for_output("locked")
            await check_outage(vault)
        await check_after(vault)


async def test_an_erasure_that_waits_outlasts_a_process_without_the_database(postgres, make_config):
    """Only one process is cut off: it misses the erasure, and returns the tenant's token until the erasure returns."""
    url, key = postgres.create_database("erased_elsewhere"), SEEN.key(TokenKind.ACCESS_TOKEN)
    limits = {"serve_stale": timedelta(seconds=8), "storage_timeout": timedelta(seconds=2)}
    with fault_proxy(url) as proxy:
        async with (
            seen_vault(make_config(proxy.url, **limits)) as cut_off,
            open_vault(make_config(url, **limits)) as one,
        ):
            await cut_off.get_token(key)
            proxy.freeze()
            erasing = asyncio.create_task(one.erase_tenant(SEEN.tenant_id, wait=True))
            while await one.get_token(key) is not None:  # noqa: ASYNC110 - until the erasure is committed
                await asyncio.sleep(0.01)
            assert (await cut_off.get_token(key)).value.reveal() == "access-0"
            assert not erasing.done()
            await erasing
            with pytest.raises(StorageError):
                await cut_off.get_token(key)
            proxy.heal()
