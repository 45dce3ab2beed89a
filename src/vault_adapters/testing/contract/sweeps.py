"""Refreshing over the store under test: what is due is refreshed once, and an erased tenant stays erased."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    REFRESH,
    ContractFixtures,
    tokens_of,
    value_of,
)
from vault_adapters.testing.contract.refreshing import MINUTE, SECOND, token_set
from vault_adapters.testing.refresher import ScriptedRefresher
from vault_domain.entities.reports import SweepReport
from vault_domain.facade.vault import TokenVault

NO_TIME = timedelta(0)
NOTHING = SweepReport()
REFRESHED = SweepReport(claimed=1, refreshed=1)


async def _values(vault: TokenVault) -> tuple[str | None, str | None]:
    return await value_of(vault, ACCESS), await value_of(vault, REFRESH)


class RefreshFixtures(ContractFixtures):
    """Gives a vault with a refresher that answers by its script."""

    @pytest.fixture
    def refresher(self) -> ScriptedRefresher:
        """Give the refresher of the account's provider."""
        return ScriptedRefresher()

    @pytest.fixture
    async def sweeping(self, store: Store, refresher: ScriptedRefresher) -> Any:
        """Open a vault that refreshes, with an account whose access token lasts for an hour."""
        async with self.vault_over(store, refreshers={ACCOUNT.provider: refresher}) as vault:
            await vault.store_token_set(ACCOUNT, token_set())
            yield vault


async def _sweep_at(vault: TokenVault, clock: ManualClock, *moments: timedelta) -> list[SweepReport]:
    """Sweep at each of these times, counted from the first storing of the access token; return the reports."""
    start = (await tokens_of(vault))[ACCESS].created_at
    reports = []
    for moment in moments:
        clock.set(start + moment)
        reports.append(await vault.refresh_due())
    return reports


class SweepCases(RefreshFixtures):
    """`TokenVault.refresh_due`, and refreshes during which another process changes the account or its tenant."""

    async def test_what_is_due_is_refreshed_once(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        refresher.then(token_set(1))
        before = 50 * MINUTE  # ten minutes remain, which is the horizon: twice the buffer of five minutes
        assert await _sweep_at(sweeping, clock, NO_TIME, before - SECOND, before, before + SECOND) == [
            *(NOTHING, NOTHING, REFRESHED, NOTHING)
        ]
        assert (await value_of(sweeping, ACCESS), await value_of(sweeping, REFRESH)) == ("access-1", "refresh-1")
        assert refresher.calls[0].spent("refresh-0")

    async def test_sweeps_at_once_refresh_each_account_once(
        self, sweeping: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        accounts = [evolve(ACCOUNT, identifier=f"{number}") for number in range(30)]
        for account in accounts:
            await sweeping.store_token_set(account, token_set())
        clock.advance(51 * MINUTE)
        refresher = ScriptedRefresher(*[token_set(1)] * 62)
        providers = {ACCOUNT.provider: refresher}
        async with (
            self.vault_over(store, refreshers=providers) as one,
            self.vault_over(store, refreshers=providers) as two,
        ):
            reports = await asyncio.gather(one.refresh_due(), two.refresh_due())
        assert sum(report.refreshed for report in reports) == 31
        assert sorted(repr(call.account) for call in refresher.calls) == sorted(map(repr, [ACCOUNT, *accounts]))

    async def test_a_refresh_during_an_erasure_leaves_nothing(
        self, sweeping: TokenVault, vault: TokenVault, refresher: ScriptedRefresher, store: Store
    ) -> None:
        for _ in range(5):
            refresher.then(token_set(1))
            results = await asyncio.gather(
                sweeping.refresh_account(ACCOUNT), vault.erase_tenant(ACCOUNT.tenant_id), return_exceptions=True
            )
            assert not isinstance(results[1], BaseException)
            assert await tokens_of(vault) == {}
            assert await store.keys.data_key(ACCOUNT.tenant_id, None) is None
            await sweeping.store_token_set(ACCOUNT, token_set())
            assert await _values(vault) == ("access-0", "refresh-0")
