"""The vault's own pool: statements that follow one another use one connection."""

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from vault_adapters import TokenKey, VaultConfig, open_vault
from vault_adapters.stores.postgres import connections as module
from vault_adapters.stores.postgres.pools import open_connections
from vault_domain.entities.secret import Secret

SIZE = 3


@asynccontextmanager
async def opened(url, size=SIZE):
    """Open a pool that has all its connections, and give it."""
    pool = await open_connections(Secret(url), size=size, prepare=True, timeout=timedelta(seconds=2))
    try:
        all_of_them = [await pool.take() for _ in range(size)]
        for connection in all_of_them:
            await pool.give(connection)
        yield pool
    finally:
        await pool.close()


async def used(pool, times):
    """Return the connections that callers get one after the other."""
    got = []
    for _ in range(times):
        connection = await pool.take()
        got.append(id(connection))
        await pool.give(connection)
    return got


async def test_callers_one_after_the_other_get_the_same_connection(url):
    async with opened(url) as pool:
        assert len(set(await used(pool, 3 * SIZE))) == 1


async def test_all_connections_can_be_taken_at_once(url):
    async with opened(url) as pool:
        for _ in range(3):
            taken = [await pool.take() for _ in range(SIZE)]
            assert len(set(map(id, taken))) == SIZE
            for connection in taken:
                await pool.give(connection)


@pytest.mark.parametrize("size", [1, SIZE])
async def test_a_caller_who_waits_gets_the_connection_that_is_given_back(url, size):
    async with opened(url, size) as pool:
        await used(pool, 2)
        taken = [await pool.take() for _ in range(size)]
        waiting = [asyncio.create_task(pool.take()) for _ in range(size)]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        for connection in taken:
            await pool.give(connection)
        assert {id(connection) for connection in await asyncio.gather(*waiting)} == set(map(id, taken))
        for connection in taken:
            await pool.give(connection)


async def test_a_caller_who_is_cancelled_while_it_waits_keeps_no_connection_from_being_at_hand(url):
    async with opened(url) as pool:
        taken = [await pool.take() for _ in range(SIZE)]
        waiting = asyncio.create_task(pool.take())
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait([waiting])
        for connection in taken:
            await pool.give(connection)
        assert len(set(await used(pool, 3 * SIZE))) == 1


async def test_the_pool_gets_each_connection_now_and_then(url, monkeypatch):
    """It closes a connection that is too old when the connection is given back."""
    monkeypatch.setattr(module, "_KEPT_SECONDS", 0.05)
    async with opened(url) as pool:
        seen = set()
        for _ in range(4 * SIZE):
            seen |= set(await used(pool, 2))
            await asyncio.sleep(0.06)
        assert len(seen) == SIZE


async def test_a_connection_at_hand_counts_as_idle_and_ends_with_the_pool(url, execute):
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'token-vault'"
    async with opened(url) as pool:
        await used(pool, 2)
        assert (pool.counts().open, pool.counts().idle) == (SIZE, SIZE)
        connection = await pool.take()
        assert pool.counts().idle == SIZE - 1
        await pool.give(connection)
        late = await pool.take()
    await pool.give(late)
    async with asyncio.timeout(5):
        while execute(count) != [(0,)]:  # noqa: ASYNC110 - the server ends the sessions a little later
            await asyncio.sleep(0.01)


async def test_a_connection_that_died_at_hand_is_not_kept(url, execute):
    async with opened(url) as pool:
        first = await pool.take()
        await pool.give(first)
        execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'token-vault'")
        await asyncio.sleep(0.1)
        connection = await pool.take()
        with pytest.raises(Exception, match=r"terminat|closed"):
            await connection.execute("SELECT 1")
        await pool.give(connection)
        connection = await pool.take()
        assert (await (await connection.execute("SELECT 1")).fetchone()) == (1,)
        await pool.give(connection)


@asynccontextmanager
async def readers_who_always_ask_again(vault, count):
    keys = [TokenKey("acme", "google", "api_key", str(number)) for number in range(count)]
    is_over = False

    async def read(key):
        while not is_over:
            assert await vault.get_token(key) is not None

    await vault.store_tokens([(key, "v") for key in keys])
    reading = [asyncio.create_task(read(key)) for key in keys]
    await asyncio.sleep(0.1)
    yield
    is_over = True
    await asyncio.gather(*reading)


@pytest.mark.parametrize(("size", "readers"), [(1, 1), (1, 20), (2, 20)])
async def test_readers_who_always_ask_again_leave_others_a_connection(postgres, size, readers):
    url = postgres.create_database(f"busy_readers_{size}_{readers}")
    config = VaultConfig(url, encryption_secret="0123456789abcdefghijklmnopqrstuv", pool_size=size)
    async with open_vault(config) as vault, readers_who_always_ask_again(vault, readers), asyncio.timeout(3):
        for _ in range(10):
            await vault.store_token(TokenKey("acme", "google", "api_key"), "w")


async def test_readers_who_always_ask_again_leave_the_host_a_connection_of_its_pool(url):
    config = VaultConfig(url, encryption_secret="0123456789abcdefghijklmnopqrstuv")
    async with (
        AsyncConnectionPool(url, min_size=1, max_size=1, open=False) as pool,
        open_vault(config, pool=pool) as vault,
        readers_who_always_ask_again(vault, 1),
    ):
        for _ in range(10):
            async with pool.connection(timeout=2) as connection:
                await connection.execute("SELECT 1")


async def test_a_hasty_caller_keeps_its_place_among_those_who_wait(url):
    """`ready` is such a caller; a pool that is only busy must not look like a database that does not answer."""
    async with opened(url, 1) as pool:
        is_over = False

        async def hold():
            while not is_over:
                connection = await pool.take()
                await asyncio.sleep(0.1)
                await pool.give(connection)

        holding = [asyncio.create_task(hold()) for _ in range(4)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(1):
            await pool.give(await pool.take(hasty=True))
        is_over = True
        await asyncio.gather(*holding)


@pytest.mark.parametrize("rounds", range(10))
async def test_a_hasty_caller_that_is_cancelled_while_it_gets_a_connection_loses_none(url, rounds):
    async with opened(url, 1) as pool:
        held = await pool.take()
        waiting = asyncio.create_task(pool.take(hasty=True))
        await asyncio.sleep(0.05)
        giving = asyncio.create_task(pool.give(held))
        for _ in range(rounds):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting, giving])
        if not waiting.cancelled():
            await pool.give(waiting.result())
        async with asyncio.timeout(1):
            await pool.give(await pool.take())


async def test_the_wait_for_a_connection_does_not_count_the_lag_of_the_event_loop(url):
    """While the loop is blocked, nobody can give a connection back, although the database is well."""
    connections = await open_connections(Secret(url), size=1, prepare=True, timeout=timedelta(seconds=0.5))
    try:
        held = await connections.take()
        waiting = asyncio.create_task(connections.take())
        await asyncio.sleep(0.05)
        time.sleep(0.8)  # noqa: ASYNC251 - the work of many callers
        await asyncio.sleep(0.05)
        await connections.give(held)
        async with asyncio.timeout(10):
            await connections.give(await waiting)
        held = await connections.take()
        with pytest.raises(PoolTimeout):
            await connections.take()
        await connections.give(held)
    finally:
        await connections.close()
