"""Processes that are killed or stopped in the middle of a refresh, and a database that dies under them."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from tests.acceptance.crowd import (
    account,
    describe,
    ensure_once,
    ensure_until_done,
    expire,
    store_pairs,
    vault_of,
)
from tests.support.oauth_server import start_oauth_server
from tests.support.postgres import start_postgres
from tests.support.processes import Call, start_processes

from vault_adapters import ConnectionState, ReauthorizationRequiredError, RefreshFailedError, TokenKind

pytestmark = pytest.mark.processes

LATENCY = 0.1
SHORT = {"commit_budget": 1, "slack": 1}
LEASE = 2.5
"""Seconds of a lease, if the refresh deadline is half a second and the other times are `SHORT`.

These times are short, because the tests wait until such leases have ended.
"""


async def kill_the_holder(store, *, kills, accounts, seed, grace, options):
    """Repeatedly start a process that refreshes, and kill it at a random moment; then `finish` the refreshes.

    Returns the server's statistics, and the outcome and the `AccountInfo` of each account.
    """
    choose = random.Random(seed)
    with start_oauth_server(grace_seconds=int(grace), latency_seconds=LATENCY) as server:
        async with vault_of(store) as vault:
            await store_pairs(vault, server.issue(accounts))
            job = Call(ensure_until_done, [store, describe(server), accounts, options])
            for _ in range(kills):
                with start_processes([job]) as group:
                    group.go()
                    await asyncio.to_thread(group[0].wait_for_output, "ready")
                    await asyncio.sleep(choose.uniform(0, LATENCY * 4))
                    group[0].kill()
                for number in range(accounts):
                    await expire(vault, number)
            ended = {}
            async with vault_of(store, describe(server), **options) as finishing:
                for number in range(accounts):
                    ended[number] = await finish(finishing, number)
            infos = {number: await vault.get_account(account(number)) for number in range(accounts)}
        return server.stats(), ended, infos


async def finish(vault, number):
    """Ask until there is a token, or until the user must connect the account again; return the token or this error."""
    end = datetime.now(UTC) + timedelta(seconds=60)
    while datetime.now(UTC) < end:
        try:
            return (await vault.ensure_access_token(account(number))).value.reveal()
        except RefreshFailedError as error:
            await asyncio.sleep(min(0.5, error.retry_after.total_seconds()))
        except ReauthorizationRequiredError as error:
            return error
    raise AssertionError("neither a token nor a ReauthorizationRequiredError")


async def with_grace(store, kills):
    options = {"grace": 600, "refresh_deadline": 0.5, "quiescence": 1, **SHORT}
    stats, ended, infos = await kill_the_holder(store, kills=kills, accounts=3, seed=kills, grace=600, options=options)
    assert all(isinstance(each, str) for each in ended.values())
    assert {info.state for info in infos.values()} == {ConnectionState.CONNECTED}
    assert stats.invalid_grants == 0
    assert stats.live_refresh_tokens >= 3


async def strict(store, kills):
    options = {"refresh_deadline": 0.5, "quiescence": 1, **SHORT}
    stats, ended, infos = await kill_the_holder(store, kills=kills, accounts=3, seed=kills, grace=0, options=options)
    lost = [number for number, each in ended.items() if not isinstance(each, str)]
    # An answer that was only in a killed process's memory is lost. Each such account must require reauthorization, and
    # all others must be connected.
    for number, info in infos.items():
        expected = ConnectionState.REAUTHORIZATION_REQUIRED if number in lost else ConnectionState.CONNECTED
        assert info.state is expected
    # The policy allows one probe after an unknown outcome: the refresh token is presented a second time. The provider
    # refuses the probe if it has consumed the token.
    assert stats.invalid_grants == len(lost)
    assert stats.most_presented <= 2


async def test_a_killed_holder_at_a_provider_with_grace(store):
    await with_grace(store, 2)


async def test_a_killed_holder_at_a_strict_provider(store):
    await strict(store, 2)


@pytest.mark.soak
async def test_killed_holders_at_a_provider_with_grace_in_full(store):
    await with_grace(store, 50)


@pytest.mark.soak
async def test_killed_holders_at_a_strict_provider_in_full(store):
    await strict(store, 50)


async def test_a_holder_that_was_stopped_for_three_leases_stores_the_answer(store):
    """Meanwhile no other process presents the refresh token. The holder may have given its caller no token."""
    options = {"refresh_deadline": 0.5, "quiescence": 60, **SHORT}
    with start_oauth_server(latency_seconds=0.3) as server:
        async with vault_of(store) as vault:
            await store_pairs(vault, server.issue(1))
            job = Call(ensure_once, [store, describe(server), options])
            with start_processes([job]) as group:
                group.go()
                await asyncio.to_thread(wait_for_requests, server, 1)
                group[0].pause()
                await asyncio.sleep(3 * LEASE)
                async with vault_of(store, describe(server), **options) as other:
                    with pytest.raises(RefreshFailedError) as caught:
                        await other.ensure_access_token(account(0))
                    assert caught.value.retry_after > timedelta(seconds=30)
                group[0].resume()
                [served] = await asyncio.to_thread(group.results)
            token = await vault.get_token(account(0).key(TokenKind.ACCESS_TOKEN))
            assert served in (None, token.value.reveal())
            assert (await vault.get_account(account(0))).state is ConnectionState.CONNECTED
            async with vault_of(store, describe(server), **options) as other:
                await other.refresh_account(account(0))  # presents the refresh token of that answer
            stats = server.stats()
            assert (stats.token_requests, stats.most_presented, stats.invalid_grants) == (2, 1, 0)


def wait_for_requests(server, count):
    import time

    end = time.monotonic() + 30
    while server.stats().token_requests < count:
        assert time.monotonic() < end
        time.sleep(0.01)


# Postgres dies between the answer and the commit


@pytest.fixture(scope="module")
def mortal():
    """A Postgres that only these tests use and stop; like one in production, it keeps what it has committed."""
    with start_postgres(settings={"synchronous_commit": "on", "fsync": "on"}) as server:
        yield server


async def stop_and_go(mortal, journal_dir, stops):
    store = {"database_url": mortal.create_database(f"mortal_{stops}")}
    modes = ["fast", "immediate"]
    with start_oauth_server(latency_seconds=0.5) as server:
        for number in range(stops):
            async with vault_of(store, describe(server), journal_dir=str(journal_dir), commit_budget=1) as vault:
                await store_pairs(vault, server.issue(1))
                before = server.stats().token_requests
                call = asyncio.create_task(vault.ensure_access_token(account(0)))
                await asyncio.sleep(0.2)  # the claim is committed; the provider takes its time
                await asyncio.to_thread(mortal.stop, modes[number % 2])
                try:
                    token = await call
                    assert list(journal_dir.glob("*.refresh.json"))
                finally:
                    await asyncio.to_thread(mortal.start)
                if number % 2:
                    # The same process stores the answer once the database is back.
                    async with asyncio.timeout(30):
                        while list(journal_dir.glob("*.refresh.json")):  # noqa: ASYNC110 - files
                            await asyncio.sleep(0.05)
            async with vault_of(store, describe(server), journal_dir=str(journal_dir)) as vault:
                assert list(journal_dir.iterdir()) == []
                assert (await vault.ensure_access_token(account(0))).value.reveal() == token.value.reveal()
                assert (await vault.get_account(account(0))).state is ConnectionState.CONNECTED
                assert (await vault.refresh_account(account(0))).value.reveal() != token.value.reveal()
            stats = server.stats()
            assert (stats.token_requests - before, stats.invalid_grants, stats.most_presented) == (2, 0, 1)


async def test_postgres_is_stopped_between_answer_and_commit(mortal, tmp_path):
    await stop_and_go(mortal, tmp_path / "journal", 2)


@pytest.mark.soak
async def test_postgres_is_stopped_between_answer_and_commit_in_full(mortal, tmp_path):
    await stop_and_go(mortal, tmp_path / "journal", 20)
