"""While the database is away, a caller's wait does not grow with the number of accounts that others ask for."""

import asyncio
import time
from contextlib import ExitStack
from datetime import timedelta

import pytest
from attrs import evolve
from tests.adapters.refresh.broken import BrokenSqlite
from tests.adapters.refresh.refresh_kit import HOUR, answer, store
from tests.support.databases import both_stores
from tests.support.fault_proxy import fault_proxy

from vault_adapters import Account, StorageError, Tuning, VaultError, open_vault
from vault_adapters.testing import ScriptedRefresher

ACCOUNTS = [Account("t1", "acme", f"user-{number}") for number in range(127)]
LIMIT = 1.0
"""The `storage_timeout` of these tests, in seconds."""


@pytest.fixture
def breakable(config):
    """Give a configuration, and functions that take its database away and give it back."""
    config = evolve(
        config, storage_timeout=timedelta(seconds=LIMIT), pool_size=30, tuning=Tuning(provider_concurrency=8)
    )
    with ExitStack() as stack:
        if config.database_url.reveal().startswith("sqlite"):
            database = BrokenSqlite(config)
            yield config, database.lock, database.unlock
        else:
            proxy = stack.enter_context(fault_proxy(config.database_url.reveal()))
            yield evolve(config, database_url=proxy.url), proxy.freeze, proxy.heal


@both_stores
async def test_callers_of_other_accounts_wait_no_longer_than_one(breakable, clock):
    config, take_away, give_back = breakable

    async def first(request):
        await asyncio.to_thread(take_away)  # waits for a transaction that is open
        return answer(1)

    async def later(request):
        await asyncio.sleep(0.1)
        return answer(1)

    async def ensure(vault, account):
        began = time.monotonic()
        try:
            ended = await vault.ensure_access_token(account)
        except VaultError as error:
            ended = error
        return type(ended), time.monotonic() - began

    refresher = ScriptedRefresher(first, *[later] * 200)
    async with asyncio.timeout(120), open_vault(config, refreshers={"acme": refresher}, clock=clock) as vault:
        for account in ACCOUNTS:
            await store(vault, account=account)
        clock.advance(HOUR)
        ended = await asyncio.gather(*(ensure(vault, account) for account in ACCOUNTS))
        give_back()
    others = [seconds for kind, seconds in ended if kind is StorageError]
    assert len(others) > 100
    assert max(others) < 10 * LIMIT  # of 127 accounts with 8 turns: one after the other, it would be 34 s or 26 s
