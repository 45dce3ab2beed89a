"""Sweeps: which accounts they take, which they leave, and how many at once."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from tests.adapters.refresh.refresh_kit import (
    ACCOUNT,
    HOUR,
    MINUTE,
    SECOND,
    Gate,
    account_state,
    answer,
    failure,
    is_connected,
    store,
    stored,
)
from tests.support.databases import both_stores

from vault_adapters import (
    Account,
    ProviderConfigurationError,
    ReauthorizationRequiredError,
    RefreshFailedError,
    Rotation,
    SweepReport,
    TokenKind,
    TokenSet,
    open_vault,
)
from vault_adapters.testing import ScriptedRefresher


def accounts(count, provider="acme"):
    return [Account("t1", provider, f"user-{number:03}") for number in range(count)]


class Provider:
    """Answers every account alike, and counts how many calls run at once."""

    rotation = Rotation.strict()
    spends = TokenKind.REFRESH_TOKEN

    def __init__(self, result=None, pause=0.0, together=0):
        """Hold the first calls until ``together`` of them run at once."""
        self.calls = Counter()
        self.most = self._running = 0
        self._result, self._pause, self._together = result, pause, together
        self._enough = asyncio.Event()

    async def refresh(self, request):
        self.calls[request.account] += 1
        self._running += 1
        self.most = max(self.most, self._running)
        if self._running >= self._together:
            self._enough.set()
        await self._enough.wait()
        await asyncio.sleep(self._pause)
        self._running -= 1
        if isinstance(self._result, BaseException):
            raise self._result
        return TokenSet("new", "new", expires_in=HOUR)


@both_stores
async def test_what_is_due_is_refreshed_and_nothing_else(opened, clock):
    refresher = Provider()
    vault = await opened(refresher)
    due, fresh, endless, short = accounts(4)
    await store(vault, account=due, lifetime=10 * MINUTE)
    clock.advance(5 * MINUTE)
    await store(vault, account=fresh, lifetime=20 * MINUTE + SECOND)
    await store(vault, account=endless, lifetime=None)
    await store(vault, account=short, lifetime=MINUTE)
    assert await vault.refresh_due() == SweepReport(claimed=1, refreshed=1)
    assert set(refresher.calls) == {due}
    assert await stored(vault, due) == {"access_token": "new", "refresh_token": "new"}
    clock.advance(30 * SECOND)
    assert (await vault.refresh_due()).refreshed == 1  # half of the short one's lifetime is over
    clock.advance(9 * MINUTE + 31 * SECOND)
    assert (await vault.refresh_due()).refreshed == 1  # the fresh one: twice the buffer is left
    assert refresher.calls[fresh] == 1


async def test_a_sweep_without_refreshers_is_nothing(opened, clock):
    vault = await opened()
    await store(vault)
    clock.advance(HOUR)
    assert await vault.refresh_due() == SweepReport()


async def test_the_soonest_first_and_no_more_than_asked(opened, clock):
    refresher = Provider()
    vault = await opened(refresher)
    for number, account in enumerate(accounts(6)):
        await store(vault, account=account, lifetime=(6 - number) * MINUTE)
    clock.advance(5 * MINUTE)
    assert await vault.refresh_due(limit=2) == SweepReport(claimed=2, refreshed=2)
    assert set(refresher.calls) == set(accounts(6)[4:])
    assert (await vault.refresh_due(limit=100)).claimed == 4
    assert set(refresher.calls.values()) == {1}


async def test_more_than_a_batch_at_the_same_moment(opened, clock):
    refresher = Provider(together=2)
    vault = await opened(refresher)
    for account in accounts(120):
        await store(vault, account=account)
    clock.advance(HOUR)
    assert await vault.refresh_due() == SweepReport(claimed=120, refreshed=120)
    assert set(refresher.calls.values()) == {1}
    assert 2 <= refresher.most <= 10


@both_stores
async def test_several_workers_share_the_work(opened, clock):
    refresher = Provider(pause=0.002)
    workers = [await opened(refresher) for _ in range(4)]
    for account in accounts(100):
        await store(workers[0], account=account)
    clock.advance(HOUR)
    reports = await asyncio.gather(*[worker.refresh_due() for worker in workers])
    assert sum(report.refreshed for report in reports) == 100
    assert set(refresher.calls.values()) == {1}


async def test_dead_accounts_are_not_tried_again(opened, clock):
    refresher = Provider(ReauthorizationRequiredError(reason="invalid_grant"))
    vault = await opened(refresher)
    for account in accounts(3):
        await store(vault, account=account)
    clock.advance(HOUR)
    assert await vault.refresh_due() == SweepReport(claimed=3, reauthorization_required=3)
    clock.advance(timedelta(days=30))
    assert await vault.refresh_due() == SweepReport()


@pytest.mark.parametrize("result", [RefreshFailedError(retry_after=MINUTE), ZeroDivisionError("refresh-0")])
async def test_failures_wait_for_their_backoff(opened, clock, result):
    vault = await opened(Provider(result))
    for account in accounts(60):
        await store(vault, account=account)
    clock.advance(HOUR)
    assert await vault.refresh_due() == SweepReport(claimed=60, failed=60)
    assert await vault.refresh_due() == SweepReport()
    clock.advance(MINUTE)
    assert await vault.refresh_due() == SweepReport(claimed=60, failed=60)


async def test_a_strict_unknown_outcome_waits_until_the_token_no_longer_serves(opened, clock):
    refresher = ScriptedRefresher(RefreshFailedError(outcome_unknown=True), answer(1))
    vault = await opened(refresher)
    await store(vault)
    clock.advance(51 * MINUTE)
    assert (await vault.refresh_due()).failed == 1
    clock.advance(8 * MINUTE)
    assert (await vault.refresh_due()).claimed == 0
    clock.advance(MINUTE)
    assert (await vault.refresh_due()).refreshed == 1


async def test_a_refused_client_is_asked_by_few(opened, clock):
    refresher = Provider(ProviderConfigurationError(reason="invalid_client"), pause=0.01)
    vault = await opened(refresher)
    for account in accounts(60):
        await store(vault, account=account)
    clock.advance(HOUR)
    report = await vault.refresh_due()
    # The third refusal pauses the client. The calls that were already running still reach the provider.
    assert 3 <= report.claimed == sum(refresher.calls.values()) <= 12
    assert (await vault.refresh_due()).claimed == 0


async def test_one_unreadable_credential_does_not_stop_a_sweep(sqlite_config, clock):
    import sqlite3

    refresher = Provider()
    async with open_vault(sqlite_config, refreshers={"acme": refresher}, clock=clock) as vault:
        for account in accounts(60):
            await store(vault, account=account)
        connection = sqlite3.connect(sqlite_config.database_url.reveal().removeprefix("sqlite:///"))
        with connection:
            damaged = "kind = 'refresh_token' AND identifier < 'user-055'"
            connection.execute(f"UPDATE token_vault_token SET blob = zeroblob(60) WHERE {damaged}")
        connection.close()
        clock.advance(HOUR)
        async with asyncio.timeout(60):
            report = await vault.refresh_due()
        assert report == SweepReport(claimed=60, refreshed=5, unreadable=55)
        assert not any(row["lease_until"] for row in account_state(sqlite_config))


@both_stores
async def test_a_cancelled_sweep_loses_nothing(opened, clock):
    gate = Gate(answer(1))
    vault = await opened(ScriptedRefresher(gate))
    await store(vault)
    clock.advance(HOUR)
    sweep = asyncio.create_task(vault.refresh_due())
    await gate.reached.wait()
    sweep.cancel()
    await asyncio.gather(sweep, return_exceptions=True)
    gate.open.set()
    assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
    assert await is_connected(vault)


@both_stores
async def test_a_sweep_and_a_caller_make_one_refresh(opened, clock):
    gate = Gate(answer(1))
    vault = await opened(ScriptedRefresher(gate))
    await store(vault)
    clock.advance(HOUR)
    sweep = asyncio.create_task(vault.refresh_due())
    await gate.reached.wait()
    call = asyncio.create_task(vault.ensure_access_token(ACCOUNT))
    await asyncio.sleep(0.05)
    gate.open.set()
    assert (await call).value.reveal() == "access-1"
    assert (await sweep).refreshed == 1


async def test_a_sweep_replaces_an_access_token_that_was_marked_invalid(opened, clock):
    refresher = Provider()
    vault = await opened(refresher)
    await store(vault)
    await vault.mark_token_invalid(await vault.get_token(ACCOUNT.key(TokenKind.ACCESS_TOKEN)), "invalid_token")
    assert await vault.refresh_due() == SweepReport(claimed=1, refreshed=1)
    assert (await vault.get_access_token(ACCOUNT)).token.value.reveal() == "new"


async def test_limits_are_checked(opened):
    vault = await opened(Provider())
    assert (await failure(vault.refresh_due(limit=0))).code == "invalid_input"
