"""Many tasks in many processes ask at once: each refresh token is presented once, and every caller gets a token.

The server rotates refresh tokens and revokes the whole family when one is presented a second time.
"""

import pytest
from tests.acceptance.crowd import account, describe, ensure_in_rounds, expire, store_pairs, sweep, vault_of
from tests.support.oauth_server import start_oauth_server
from tests.support.processes import Call, start_processes

pytestmark = pytest.mark.processes


async def crowd(store, tmp_path, *, processes, calls, rounds, accounts, **options):
    """Let processes ask for tokens that have all just expired; return (tokens by round, states, server's stats)."""
    signals = [str(tmp_path / f"round-{number}") for number in range(rounds)]
    with start_oauth_server() as server:
        async with vault_of(store) as vault:
            await store_pairs(vault, server.issue(accounts))
            jobs = [
                Call(ensure_in_rounds, [store, describe(server), signals, accounts, calls, seed, options])
                for seed in range(processes)
            ]
            with start_processes(jobs) as group:
                group.go()
                for number, signal in enumerate(signals):
                    for handle in group:
                        handle.wait_for_output(f"ready {number}", timeout=120)
                    if number:
                        for each in range(accounts):
                            await expire(vault, each)
                    (tmp_path / signal).touch()
                results = group.results(timeout=600)
            states = {info.state async for info in vault.iter_accounts(account(0).tenant_id)}
        return results, states, server.stats()


def check(results, states, stats, *, rounds, accounts):
    distinct = 0
    for number in range(rounds):
        found = {}
        for result in results:
            for each, values in result[number].items():
                found.setdefault(each, set()).update(values)
        assert all(len(values) == 1 for values in found.values())
        distinct += len(found)
        assert len({value for values in found.values() for value in values}) == len(found)
    assert stats.refreshes == distinct <= rounds * accounts
    assert (stats.token_requests, stats.most_presented) == (distinct, 1)
    assert (stats.invalid_grants, stats.other_errors, stats.replays) == (0, 0, 0)
    assert states == {"connected"}


async def test_one_account(store, tmp_path):
    outcome = await crowd(store, tmp_path, processes=6, calls=50, rounds=2, accounts=1)
    check(*outcome, rounds=2, accounts=1)
    assert outcome[2].refreshes == 2


async def test_some_hot_accounts_among_many(store, tmp_path):
    outcome = await crowd(store, tmp_path, processes=4, calls=200, rounds=1, accounts=40)
    check(*outcome, rounds=1, accounts=40)


@pytest.mark.soak
async def test_one_account_in_full(store, tmp_path):
    outcome = await crowd(store, tmp_path, processes=16, calls=200, rounds=3, accounts=1)
    check(*outcome, rounds=3, accounts=1)
    assert outcome[2].refreshes == 3


@pytest.mark.soak
async def test_some_hot_accounts_among_many_in_full(store, tmp_path):
    outcome = await crowd(store, tmp_path, processes=16, calls=800, rounds=1, accounts=200, refresh_deadline=60)
    check(*outcome, rounds=1, accounts=200)


async def sweep_together(store, *, processes, accounts):
    with start_oauth_server() as server:
        async with vault_of(store) as vault:
            await store_pairs(vault, server.issue(accounts))
            with start_processes([Call(sweep, [store, describe(server)])] * processes) as group:
                group.go()
                reports = group.results(timeout=3600)
            # A slow worker releases leases without a refresh; the next sweep takes those accounts.
            while sum(report["refreshed"] for report in reports) < accounts:
                reports.append(await sweep(store, describe(server)))
                assert reports[-1]["claimed"]
            states = {info.state async for info in vault.iter_accounts(account(0).tenant_id)}
        stats = server.stats()
    assert sum(report["refreshed"] for report in reports) == stats.refreshes == stats.token_requests == accounts
    assert (stats.most_presented, stats.invalid_grants, stats.other_errors, stats.replays) == (1, 0, 0, 0)
    assert sum(report["failed"] for report in reports) == 0
    assert states == {"connected"}
    return reports


async def test_sweeps_of_several_workers(store):
    reports = await sweep_together(store, processes=3, accounts=200)
    assert sum(report["refreshed"] > 0 for report in reports) >= 2


@pytest.mark.soak
async def test_sweeps_of_several_workers_in_full(store):
    await sweep_together(store, processes=8, accounts=10_000)
