"""Definite refusals: the waits after them grow to a day, and after four days of them the credential is condemned."""

from __future__ import annotations

from datetime import datetime, timedelta

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, tokens_of
from vault_adapters.testing.contract.refreshing import HOUR, MINUTE, SECOND, answer, claimed, state_of, token_set
from vault_adapters.testing.contract.sweeps import RefreshFixtures
from vault_adapters.testing.refresher import ScriptedRefresher
from vault_domain.entities.account import ConnectionState
from vault_domain.entities.attempt import Failure
from vault_domain.entities.errors import ProviderConfigurationError, ReauthorizationRequiredError, RefreshFailedError
from vault_domain.entities.refresh_state import RefreshState
from vault_domain.entities.reports import SweepReport
from vault_domain.entities.token import TokenStatus
from vault_domain.facade.vault import TokenVault

DAY = timedelta(days=1)
REFUSED = ProviderConfigurationError()
AWAY = RefreshFailedError()


class ExhaustionCases(RefreshFixtures):
    """An account's run of refusals, as the store keeps it and as the rules use it."""

    async def test_the_length_of_a_run_is_stored_and_moves_its_begin(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        await vault.store_token_set(ACCOUNT, token_set())
        await _fail(store, refused=True, refused_for=HOUR)
        assert await _run(store) == (clock.now(), timedelta(0))
        clock.advance(DAY)
        await _fail(store, refused=True, refused_for=HOUR)
        begin = clock.now() - HOUR
        assert await _run(store) == (begin, HOUR)
        clock.advance(DAY)
        await _fail(store)
        assert await _run(store) == (begin, HOUR)
        await _fail(store, refused=True)
        assert await _run(store) == (begin, HOUR)

    async def test_a_success_and_another_credential_end_the_run(self, vault: TokenVault, store: Store) -> None:
        await vault.store_token_set(ACCOUNT, token_set(), label="l")
        await self.check_run(store)
        await store.refreshes.commit(await claimed(store), await answer(store), actor=None)
        assert await _run(store) == (None, timedelta(0))
        await self.check_run(store)
        await vault.store_token_set(ACCOUNT, token_set(1))
        assert await _run(store) == (None, timedelta(0))
        await self.check_run(store)
        await vault.store_token_set(ACCOUNT, token_set(2), label="another")
        assert await _run(store) == (None, timedelta(0))
        await self.check_run(store)
        await vault.store_token(REFRESH, "another refresh token")
        await claimed(store)
        assert await _run(store) == (None, timedelta(0))

    async def check_run(self, store: Store) -> None:
        """Record two refusals of the account, and check that its run of refusals is an hour long."""
        for _ in range(2):
            await _fail(store, refused=True, refused_for=HOUR)
        assert (await _run(store))[1] == HOUR

    async def test_a_sweep_asks_for_a_dead_grant_twenty_times_at_most(
        self, sweeping: TokenVault, store: Store, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        first = clock.now() + HOUR
        clock.set(first)
        reports = [await _refused(sweeping, store, refresher, clock) for _ in range(20)]
        assert SweepReport(claimed=1, reauthorization_required=1) in reports
        assert len(refresher.calls) <= 20
        assert (await _condemned_at(sweeping)) - first >= 4 * DAY
        info = await sweeping.get_account(ACCOUNT)
        assert info is not None
        assert (info.state, info.reason) == (ConnectionState.REAUTHORIZATION_REQUIRED, "exhausted")
        assert reports[-1] == SweepReport()

    async def test_an_exhausted_account_is_shown_to_its_caller_and_not_asked_for_again(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        clock.advance(HOUR)
        refresher.then(*[REFUSED] * 5)
        assert [await _reason(sweeping, clock, DAY + SECOND) for _ in range(5)] == [None] * 4 + ["exhausted"]
        assert await _reason(sweeping, clock, DAY) == "exhausted"
        assert len(refresher.calls) == 5

    async def test_outages_neither_count_nor_end_a_run(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        clock.advance(HOUR)
        refresher.then(REFUSED, *[AWAY] * 6, *[REFUSED] * 4)
        reasons = [await _reason(sweeping, clock, DAY + SECOND) for _ in range(11)]
        assert reasons == [None] * 10 + ["exhausted"]

    async def test_a_success_ends_a_run(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        clock.advance(HOUR)
        refresher.then(*[REFUSED] * 4, token_set(1, rotates=False), *[REFUSED] * 5)
        for _ in range(4):
            assert await _reason(sweeping, clock, DAY + SECOND) is None
        assert (await sweeping.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
        clock.advance(HOUR)
        assert [await _reason(sweeping, clock, DAY + SECOND) for _ in range(5)] == [None] * 4 + ["exhausted"]

    async def test_a_clock_set_forward_by_four_days_exhausts_nothing(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        clock.advance(HOUR)
        refresher.then(*[REFUSED] * 6)
        assert [await _reason(sweeping, clock, 3**number * MINUTE) for number in range(5)] == [None] * 5
        clock.advance(4 * DAY)
        assert await _reason(sweeping, clock, HOUR) is None
        assert len(refresher.calls) == 6

    async def test_a_refused_account_is_asked_for_again_at_last_although_the_clock_was_set_back(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        clock.advance(HOUR)
        refresher.then(*[REFUSED] * 3, token_set(1))
        assert [await _reason(sweeping, clock, DAY + SECOND) for _ in range(2)] == [None] * 2
        assert await _reason(sweeping, clock, 23 * HOUR) is None
        assert await _reason(sweeping, clock, timedelta(0)) is None  # an hour of the backoff is left: no request
        assert len(refresher.calls) == 3
        clock.advance(-30 * DAY)
        await sweeping.delete_token(ACCESS)
        assert (await sweeping.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"


async def _fail(store: Store, *, refused: bool = False, refused_for: timedelta | None = None) -> None:
    failure = Failure(None, MINUTE, unknown=False, refused=refused, refused_for=refused_for)
    await store.refreshes.fail(await claimed(store), failure)


async def _run(store: Store) -> tuple[datetime | None, timedelta]:
    state: RefreshState = await state_of(store)
    return state.refused_since, state.refused_for


async def _refused(vault: TokenVault, store: Store, refresher: ScriptedRefresher, clock: ManualClock) -> SweepReport:
    """Sweep while the provider refuses; then set the clock to the end of the account's backoff."""
    refresher.then(REFUSED)
    report = await vault.refresh_due()
    clock.set((await state_of(store)).next_attempt_at or clock.now() + HOUR)
    return report


async def _condemned_at(vault: TokenVault) -> datetime:
    info = (await tokens_of(vault))[REFRESH]
    assert info.status is TokenStatus.INVALID
    return info.updated_at


async def _reason(vault: TokenVault, clock: ManualClock, later: timedelta) -> str | None:
    """Ask for an access token and get an error; advance the clock; return the reason if the user must connect again."""
    try:
        await vault.ensure_access_token(ACCOUNT)
    except ReauthorizationRequiredError as error:
        return error.reason
    except (ProviderConfigurationError, RefreshFailedError):
        return None
    finally:
        clock.advance(later)
    raise AssertionError("there was a token")
