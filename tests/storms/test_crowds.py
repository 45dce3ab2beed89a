"""Crowds of callers cost one request for each account, and what a busy process holds does not grow over minutes."""

import itertools

import pytest
from tests.storms.crowds import call_together, fill, vault_of, work_for
from tests.support.processes import Call, run_processes
from tests.support.strict_provider import strict_provider

pytestmark = pytest.mark.processes

MEBIBYTE = 1024 * 1024

MOST_BLOCKS = 1500
"""How many more blocks of Python's memory a process may hold at the end, for caches of rows and for running tasks."""

MOST_BLOCKS_OF_MANY = 8000
"""The same with many tokens. A process has an entry for each token that it used within the last minute.

The machine's speed decides how many tokens these are.
"""

_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, tmp_path):
    if request.param == "sqlite":
        return {"database_url": f"sqlite:///{tmp_path}/vault.db"}
    server = request.getfixturevalue("postgres")
    return {"database_url": server.create_database(f"crowds_{next(_numbers)}")}


async def crowd(store, tmp_path, *, calls, accounts):
    with strict_provider("salt", lifetime=3600) as (provider, url):
        provider.weather(latency=0.1)
        async with vault_of(store, url, tmp_path / "journal") as vault:
            await fill(vault, [provider.consent(f"t0/user-{number}") for number in range(accounts)], seconds=-1)
            found = await call_together(vault, calls, accounts)
        assert len(found) == accounts
        assert all(len(values) == 1 for values in found.values())
        assert len(provider.presented) == accounts
        assert {request.outcome for request in provider.presented} == {"answered"}


async def test_callers_of_one_account_cost_one_request(store, tmp_path):
    await crowd(store, tmp_path, calls=200, accounts=1)


async def test_callers_of_many_accounts_cost_one_request_each(store, tmp_path):
    await crowd(store, tmp_path, calls=400, accounts=20)


@pytest.mark.soak
async def test_two_thousand_callers_of_one_account_cost_one_request(store, tmp_path):
    await crowd(store, tmp_path, calls=2000, accounts=1)


@pytest.mark.soak
async def test_forty_thousand_callers_of_200_accounts_cost_one_request_each(store, tmp_path):
    await crowd(store, tmp_path, calls=40_000, accounts=200)


def stays_flat(store, tmp_path, *, seconds, every, many=0, most_blocks=MOST_BLOCKS):
    """Let a process work, and compare what it holds at the end with what it held after its first calls.

    The kernel's count of its memory says little. It grows by 8 MiB within minutes, and then stays: SQLite fills its
    page caches (2 MB for each connection) while the file grows, malloc keeps free memory between blocks in use and for
    each thread, and the first write to a page that is shared with the parent of a fork copies it. So the caches are
    filled first, and the allocators are asked what they have given out. That finds a leak of one small object for each
    call, which the kernel's count would not. What malloc has given out may still grow by a mebibyte once, because a
    pool opens one more connection at a busy moment.
    """
    with strict_provider("salt", lifetime=2) as (provider, url):
        pairs = [provider.consent(f"t0/user-{number}") for number in range(20)]
        journal = str(tmp_path / "journal")
        [samples] = run_processes(
            [Call(work_for, [store, url, journal, pairs, seconds, every, many])], timeout=seconds + 300
        )
        assert provider.presented
    first, last = samples[0], samples[-1]
    assert last["calls"] - first["calls"] > 2 * most_blocks
    assert last["blocks"] - first["blocks"] < most_blocks, samples
    if first["bytes"] is not None:
        assert last["bytes"] - first["bytes"] < 3 * MEBIBYTE, samples
    assert last["memory"] - first["memory"] < 24 * MEBIBYTE, samples
    assert last["descriptors"] - first["descriptors"] <= 4, samples
    assert last["tasks"] - first["tasks"] <= 4, samples


@pytest.mark.soak
def test_a_busy_process_holds_no_more_after_minutes(store, tmp_path):
    stays_flat(store, tmp_path, seconds=400, every=40)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_busy_process_with_fifty_thousand_accounts_holds_no_more_after_ten_minutes(store, tmp_path):
    stays_flat(store, tmp_path, seconds=600, every=60, many=50_000, most_blocks=MOST_BLOCKS_OF_MANY)
