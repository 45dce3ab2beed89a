"""Refreshing over the store under test: when a sweep presents a credential, and when it must not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures, tokens_of, value_of
from vault_adapters.testing.contract.refreshing import HOUR, LEASE, MINUTE, SECOND, claimed, state_of, token_set
from vault_adapters.testing.refresher import ScriptedRefresher
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.errors import ReauthorizationRequiredError, RefreshFailedError
from vault_domain.entities.imported import ImportedToken
from vault_domain.entities.reports import SweepReport
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import TokenStatus
from vault_domain.facade.vault import TokenVault

NO_TIME = timedelta(0)
UNKNOWN = RefreshFailedError(outcome_unknown=True)
NOTHING = SweepReport()
REFRESHED = SweepReport(claimed=1, refreshed=1)
FAILED = SweepReport(claimed=1, failed=1)
STRICT, GRACE, NON_ROTATING = Rotation.strict(), Rotation.grace(MINUTE), Rotation.non_rotating()


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
    """`TokenVault.refresh_due`: one case for each rule."""

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

    async def test_the_horizon_is_at_most_half_of_the_lifetime(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        refresher.then(token_set(1))
        await sweeping.store_token_set(ACCOUNT, token_set(lifetime=8 * MINUTE))
        half = 4 * MINUTE
        assert await _sweep_at(sweeping, clock, NO_TIME, half - SECOND, half) == [NOTHING, NOTHING, REFRESHED]

    async def test_an_access_token_that_was_marked_is_refreshed(
        self, sweeping: TokenVault, refresher: ScriptedRefresher
    ) -> None:
        refresher.then(token_set(1))
        await sweeping.mark_token_invalid((await tokens_of(sweeping))[ACCESS], "invalid_token")
        assert await sweeping.refresh_due() == REFRESHED
        assert await value_of(sweeping, ACCESS) == "access-1"

    @pytest.mark.parametrize("how", ["unknown", "missing", "without_expiry"])
    async def test_access_tokens_that_nobody_needs_soon_are_left_to_callers(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock, how: str
    ) -> None:
        if how == "unknown":
            expires_at = clock.now() + HOUR
            unknown = ImportedToken(ACCESS, Secret("v"), status=TokenStatus.UNKNOWN, expires_at=expires_at)
            await sweeping.import_tokens([unknown], overwrite=True)
        elif how == "missing":
            await sweeping.delete_token(ACCESS)
        else:
            await sweeping.store_token_set(ACCOUNT, token_set(lifetime=None))
        for _ in range(5):
            clock.advance(20 * MINUTE)
            assert await sweeping.refresh_due() == NOTHING
        assert refresher.calls == []

    @pytest.mark.parametrize("how", ["invalid", "expired", "missing"])
    async def test_nothing_is_refreshed_without_a_credential(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock, how: str
    ) -> None:
        if how == "invalid":
            await sweeping.mark_token_invalid((await tokens_of(sweeping))[REFRESH], "revoked")
        elif how == "expired":
            await sweeping.store_token(REFRESH, "r", expires_at=clock.now() + MINUTE)
        else:
            await sweeping.delete_token(REFRESH)
        for number in range(5):
            clock.advance(19 * MINUTE)
            await sweeping.store_token(ACCOUNT.key(TokenKind.WEBHOOK_SECRET), f"makes the account due {number}")
            assert await sweeping.refresh_due() == NOTHING
        assert refresher.calls == []
        # A new credential is used at once.
        refresher.then(token_set(1))
        await sweeping.store_token(REFRESH, "refresh-0")
        assert await sweeping.refresh_due() == REFRESHED

    async def test_backoff_is_kept_to_the_second(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        refresher.then(RefreshFailedError(retry_after=90 * SECOND), token_set(1))
        at = 51 * MINUTE
        moments = (at, at + 89 * SECOND, at + 90 * SECOND)
        assert await _sweep_at(sweeping, clock, *moments) == [FAILED, NOTHING, REFRESHED]

    async def test_backoff_holds_whatever_else_is_stored(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        refresher.then(RefreshFailedError(retry_after=90 * SECOND), token_set(1))
        at = 51 * MINUTE
        assert await _sweep_at(sweeping, clock, at) == [FAILED]
        await sweeping.store_token(ACCOUNT.key(TokenKind.WEBHOOK_SECRET), "makes the account due")
        moments = (at + SECOND, at + 89 * SECOND, at + 90 * SECOND)
        assert await _sweep_at(sweeping, clock, *moments) == [NOTHING, NOTHING, REFRESHED]

    async def test_strict_does_not_present_again_while_the_access_token_serves(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        refresher.then(UNKNOWN, token_set(1))
        moments = (51 * MINUTE, 53 * MINUTE, HOUR - SECOND, HOUR)
        assert await _sweep_at(sweeping, clock, *moments) == [FAILED, NOTHING, NOTHING, REFRESHED]

    async def test_strict_does_not_present_again_within_the_quiescence(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        refresher.then(UNKNOWN, token_set(1))
        at = HOUR - 10 * SECOND
        moments = (at, HOUR + SECOND, at + MINUTE - SECOND, at + MINUTE)
        assert await _sweep_at(sweeping, clock, *moments) == [FAILED, NOTHING, NOTHING, REFRESHED]

    async def test_a_new_credential_ends_the_wait_for_the_old_one(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        refresher.then(UNKNOWN, token_set(1))
        assert await _sweep_at(sweeping, clock, 51 * MINUTE, 52 * MINUTE) == [FAILED, NOTHING]
        await sweeping.store_token(REFRESH, "another")
        assert await sweeping.refresh_due() == REFRESHED
        assert refresher.calls[1].spent("another")

    @pytest.mark.parametrize("rotation", [GRACE, NON_ROTATING], ids=["grace", "non_rotating"])
    async def test_others_present_again_as_soon_as_the_backoff_is_over(
        self, sweeping: TokenVault, store: Store, clock: ManualClock, rotation: Rotation
    ) -> None:
        # Within a grace period, one attempt presents the credential up to three times.
        requests = 3 if rotation is GRACE else 1
        refresher = ScriptedRefresher(*[UNKNOWN] * requests, token_set(1), rotation=rotation)
        async with self.vault_over(store, refreshers={ACCOUNT.provider: refresher}) as vault:
            moments = (51 * MINUTE, 51 * MINUTE + SECOND)
            assert await _sweep_at(vault, clock, *moments) == [FAILED, REFRESHED]

    async def test_grace_does_not_present_again_after_it(
        self, sweeping: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        refresher = ScriptedRefresher(*[UNKNOWN] * 9, token_set(1), rotation=GRACE)
        async with self.vault_over(store, refreshers={ACCOUNT.provider: refresher}) as vault:
            at = 51 * MINUTE
            # The grace period starts at the first request. A retry and its deadline of ten seconds must fit into it.
            moments = (at, at + 20 * SECOND, at + 40 * SECOND, at + 55 * SECOND, at + 5 * MINUTE, HOUR)
            assert await _sweep_at(vault, clock, *moments) == [FAILED, FAILED, FAILED, NOTHING, NOTHING, REFRESHED]

    @pytest.mark.parametrize("rotation", [STRICT, GRACE, NON_ROTATING], ids=lambda rotation: rotation.kind)
    async def test_the_lease_of_a_process_that_died_is_left_alone_until_its_end(
        self, sweeping: TokenVault, store: Store, clock: ManualClock, rotation: Rotation
    ) -> None:
        refresher = ScriptedRefresher(token_set(1), rotation=rotation)
        async with self.vault_over(store, refreshers={ACCOUNT.provider: refresher}) as vault:
            at = 51 * MINUTE
            clock.advance(at)
            await claimed(store)
            clock.advance(5 * SECOND)
            # The write makes the account due. A sweep must look at the account again when the lease ends, not later.
            await vault.store_token(ACCOUNT.key(TokenKind.WEBHOOK_SECRET), "makes the account due")
            moments = (at + 5 * SECOND, at + LEASE - SECOND)
            assert await _sweep_at(vault, clock, *moments) == [NOTHING, NOTHING]
            assert refresher.calls == []
            # After the lease, the outcome is unknown. A strict policy then waits until the access token expires.
            end = HOUR if rotation is STRICT else at + LEASE
            assert await _sweep_at(vault, clock, end) == [REFRESHED]

    async def test_a_credential_that_is_dead_is_not_tried_again(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        refresher.then(ReauthorizationRequiredError(reason="invalid_grant"))
        dead = SweepReport(claimed=1, reauthorization_required=1)
        assert await _sweep_at(sweeping, clock, 51 * MINUTE, 55 * MINUTE, 2 * HOUR) == [dead, NOTHING, NOTHING]
        assert (await tokens_of(sweeping))[REFRESH].error_code == "invalid_grant"
        await sweeping.store_token_set(ACCOUNT, token_set(2, 8 * MINUTE))
        clock.advance(4 * MINUTE)
        refresher.then(token_set(3))
        assert await sweeping.refresh_due() == REFRESHED

    async def test_no_more_than_asked_for_and_the_soonest_first(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        accounts = [evolve(ACCOUNT, identifier=f"{number}") for number in range(4)]
        for number, account in enumerate(accounts):
            await sweeping.store_token_set(account, token_set(lifetime=(8 - number) * MINUTE))
        clock.advance(8 * MINUTE)
        refresher.then(*[token_set(1)] * 4)
        assert await sweeping.refresh_due(limit=2) == SweepReport(claimed=2, refreshed=2)
        assert {call.account for call in refresher.calls} == set(accounts[2:])
        assert await sweeping.refresh_due() == SweepReport(claimed=2, refreshed=2)

    async def test_a_provider_without_a_refresher_is_left_alone(
        self, sweeping: TokenVault, store: Store, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        other = Account("t1", "github", "ann")
        await sweeping.store_token_set(other, token_set())
        refresher.then(token_set(1))
        clock.advance(51 * MINUTE)
        assert await sweeping.refresh_due() == REFRESHED
        assert (await state_of(store, other)).attempt_id is None

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
