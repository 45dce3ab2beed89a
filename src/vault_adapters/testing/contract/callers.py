"""Refreshing over the store under test: what a caller who needs an access token gets, and when."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCOUNT, REFRESH
from vault_adapters.testing.contract.refreshing import HOUR, LEASE, MINUTE, SECOND, claimed, token_set
from vault_adapters.testing.contract.sweeps import GRACE, UNKNOWN, RefreshFixtures
from vault_adapters.testing.refresher import ScriptedRefresher
from vault_domain.entities.errors import RefreshFailedError
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import TokenStatus
from vault_domain.facade.vault import TokenVault


class CallerCases(RefreshFixtures):
    """`TokenVault.ensure_access_token` and `refresh_account`: one case for each rule."""

    async def test_a_token_that_is_due_is_refreshed(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        refresher.then(token_set(1))
        clock.advance(55 * MINUTE - SECOND)
        assert await _ensured(sweeping) == "access-0"
        clock.advance(SECOND)
        assert await _ensured(sweeping) == "access-1"
        assert await _ensured(sweeping) == "access-1"
        assert len(refresher.calls) == 1

    async def test_a_credential_of_unknown_status_is_tried(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        unknown = ImportedToken(REFRESH, Secret("imported"), status=TokenStatus.UNKNOWN)
        await sweeping.import_tokens([unknown], overwrite=True)
        refresher.then(token_set(1))
        clock.advance(HOUR)
        assert await _ensured(sweeping) == "access-1"
        assert refresher.calls[0].spent("imported")

    async def test_a_caller_is_told_how_long_to_back_off(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        refresher.then(RefreshFailedError(retry_after=90 * SECOND), token_set(1))
        clock.advance(HOUR)
        assert await _wait_for(sweeping) == 90 * SECOND
        clock.advance(89 * SECOND)
        assert await _wait_for(sweeping) == SECOND
        clock.advance(SECOND)
        assert await _ensured(sweeping) == "access-1"

    async def test_strict_rotation_waits_after_an_unknown_outcome(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        refresher.then(UNKNOWN, token_set(1))
        clock.advance(HOUR)
        await _wait_for(sweeping)
        clock.advance(MINUTE - SECOND)
        assert await _wait_for(sweeping) == SECOND
        clock.advance(SECOND)
        assert await _ensured(sweeping) == "access-1"

    async def test_a_usable_token_is_returned_after_an_unknown_outcome(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        refresher.then(UNKNOWN)
        clock.advance(56 * MINUTE)
        for _ in range(3):
            assert await _ensured(sweeping) == "access-0"
            clock.advance(MINUTE)
        assert len(refresher.calls) == 1

    async def test_within_the_grace_period_an_unknown_outcome_is_tried_again(
        self, sweeping: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        refresher = ScriptedRefresher(*[UNKNOWN] * 6, token_set(1), rotation=GRACE)
        async with self.vault_over(store, refreshers={ACCOUNT.provider: refresher}) as vault:
            clock.advance(HOUR)
            await _wait_for(vault)
            clock.advance(30 * SECOND)
            await _wait_for(vault)
            assert len(refresher.calls) == 6  # each attempt presents the credential up to three times
            clock.advance(21 * SECOND)  # too late for a request within the grace period, so quiescence applies
            assert await _wait_for(vault) == MINUTE - 21 * SECOND
            clock.advance(MINUTE - 21 * SECOND)
            assert await _ensured(vault) == "access-1"

    async def test_refresh_account_ignores_backoff(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        refresher.then(RefreshFailedError(retry_after=HOUR), token_set(1))
        clock.advance(HOUR)
        await _wait_for(sweeping)
        assert (await sweeping.refresh_account(ACCOUNT)).value.reveal() == "access-1"

    async def test_a_lease_that_ran_out_is_shown_as_an_unknown_outcome(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, store: Store, clock: ManualClock
    ) -> None:
        clock.advance(HOUR)
        await claimed(store)
        clock.advance(LEASE)
        info = await sweeping.get_account(ACCOUNT)
        assert info is not None
        assert (info.state, info.reason) == ("retrying", "outcome_unknown")
        assert await _wait_for(sweeping) == MINUTE
        assert refresher.calls == []

    async def test_a_caller_waits_for_the_holder_of_the_lease(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, store: Store, clock: ManualClock
    ) -> None:
        clock.advance(HOUR)
        await claimed(store)
        refresher.then(token_set(1))
        waiting = asyncio.create_task(sweeping.ensure_access_token(ACCOUNT))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await sweeping.store_token_set(ACCOUNT, token_set(7))
        assert (await waiting).value.reveal() == "access-7"
        assert refresher.calls == []


async def _ensured(vault: TokenVault) -> str:
    return (await vault.ensure_access_token(ACCOUNT)).value.reveal()


async def _wait_for(vault: TokenVault) -> timedelta | None:
    """Return the time that a failed call tells its caller to wait; None if its error names no time."""
    with pytest.raises(RefreshFailedError) as caught:
        await vault.ensure_access_token(ACCOUNT)
    return caught.value.retry_after
