"""A revived account is refreshed again."""

from __future__ import annotations

from attrs import evolve
from tests.services.over_dict import OverDict

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCOUNT, REFRESH, tokens_of, value_of
from vault_adapters.testing.contract.refreshing import HOUR, token_set
from vault_adapters.testing.contract.sweeps import NOTHING, REFRESHED, RefreshFixtures
from vault_adapters.testing.refresher import ScriptedRefresher
from vault_domain.entities.account import ConnectionState, TokenKey
from vault_domain.entities.errors import ReauthorizationRequiredError
from vault_domain.entities.reports import RevivalReport
from vault_domain.entities.token import TokenInfo, TokenStatus
from vault_domain.facade.vault import TokenVault

PROVIDER = ACCOUNT.provider
NONE, ONE = RevivalReport(), RevivalReport(revived=1)


class TestRevivedRefreshes(OverDict, RefreshFixtures):
    """`TokenVault.revive_accounts`, and the sweep after it."""

    async def test_a_condemned_account_is_refreshed_again(
        self, sweeping: TokenVault, store: Store, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        begin = clock.now()
        clock.advance(HOUR)
        refresher.then(ReauthorizationRequiredError(reason="invalid_grant"), token_set(1))
        assert (await sweeping.refresh_due()).reauthorization_required == 1
        before = await _info(sweeping)
        clock.advance(24 * HOUR)
        assert await sweeping.refresh_due() == NOTHING
        assert await sweeping.revive_accounts(provider=PROVIDER, since=begin) == ONE
        after = await _info(sweeping)
        assert after == evolve(
            before, status=TokenStatus.VALID, error_code=None, rejected_at=None, updated_at=clock.now()
        )
        info = await sweeping.get_account(ACCOUNT)
        assert info is not None
        assert info.state is ConnectionState.CONNECTED
        assert await sweeping.refresh_due() == REFRESHED
        assert refresher.calls[1].spent("refresh-0")
        assert await value_of(sweeping, REFRESH) == "refresh-1"


async def _info(vault: TokenVault, key: TokenKey = REFRESH) -> TokenInfo:
    return (await tokens_of(vault, key.tenant_id))[key]
