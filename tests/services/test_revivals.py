"""Revival of condemned credentials."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.services.over_dict import OverDict

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCOUNT, REFRESH, events_of, tokens_of
from vault_adapters.testing.contract.refreshing import HOUR, MINUTE, SECOND, claimed, token_set
from vault_adapters.testing.contract.sweeps import RefreshFixtures
from vault_adapters.testing.refresher import ScriptedRefresher
from vault_domain.entities.account import Account, TokenKey
from vault_domain.entities.attempt import Failure
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import ReauthorizationRequiredError
from vault_domain.entities.reports import RevivalReport
from vault_domain.entities.token import TokenInfo, TokenStatus
from vault_domain.facade.vault import TokenVault
from vault_domain.services.refresh.attempt_ledger import AttemptLedger

PROVIDER = ACCOUNT.provider
NONE, ONE = RevivalReport(), RevivalReport(revived=1)


class TestRevivals(OverDict, RefreshFixtures):
    """`TokenVault.revive_accounts`."""

    async def test_a_caller_gets_a_token_for_a_revived_account_at_once(
        self, sweeping: TokenVault, refresher: ScriptedRefresher, clock: ManualClock
    ) -> None:
        clock.advance(HOUR)
        refresher.then(ReauthorizationRequiredError(reason="invalid_grant"), token_set(1))
        with pytest.raises(ReauthorizationRequiredError):
            await sweeping.ensure_access_token(ACCOUNT)
        await sweeping.revive_accounts(provider=PROVIDER, since=clock.now())
        assert (await sweeping.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"

    async def test_one_event_reports_each_revived_credential(self, vault: TokenVault, store: Store) -> None:
        await self.check_condemned(vault, store)
        info = await _info(vault)
        await vault.with_actor("operator").revive_accounts(provider=PROVIDER, since=info.updated_at)
        event = (await events_of(vault, ACCOUNT.tenant_id))[-1]
        assert (event.action, event.account, event.kind) == (AuditAction.ACCOUNT_REVIVED, ACCOUNT, REFRESH.kind)
        assert (event.generation, event.actor, event.code) == (info.generation, "operator", "invalid_grant")
        assert event.occurred_at == (await _info(vault)).updated_at

    async def check_condemned(self, vault: TokenVault, store: Store, account: Account = ACCOUNT) -> None:
        """Connect an account; its refresh fails once, and then the provider rejects its refresh token."""
        await vault.store_token_set(account, token_set(), label="l")
        failure = Failure("server_error", MINUTE, unknown=True, refused=True)
        await AttemptLedger(store.accounts).fail(await claimed(store, account), failure)
        await AttemptLedger(store.accounts).reject(await claimed(store, account), "invalid_grant", actor=None)

    async def test_nothing_of_an_erased_tenant_comes_back(self, vault: TokenVault, store: Store) -> None:
        await self.check_condemned(vault, store)
        since = (await _info(vault)).updated_at
        await vault.erase_tenant(ACCOUNT.tenant_id)
        assert await vault.revive_accounts(provider=PROVIDER, since=since) == NONE
        assert await tokens_of(vault) == {}

    async def test_an_expired_credential_is_passed_over(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        await vault.store_token_set(ACCOUNT, token_set())
        await vault.store_token(REFRESH, "refresh-1", expires_at=clock.now() + HOUR)
        await AttemptLedger(store.accounts).reject(await claimed(store), "invalid_grant", actor=None)
        clock.advance(HOUR)
        report = await vault.revive_accounts(provider=PROVIDER, since=clock.now() - HOUR)
        assert report == RevivalReport(skipped=1)
        assert (await _info(vault)).status is TokenStatus.INVALID

    async def test_a_value_that_was_stored_meanwhile_stays(self, vault: TokenVault, store: Store) -> None:
        await self.check_condemned(vault, store)
        since = (await _info(vault)).updated_at
        await vault.store_token_set(ACCOUNT, token_set(1))
        await vault.mark_token_invalid(await _info(vault), "host_says_so")
        assert await vault.revive_accounts(provider=PROVIDER, since=since) == NONE
        assert (await _info(vault)).error_code == "host_says_so"

    async def test_a_dry_run_only_counts(self, vault: TokenVault, store: Store) -> None:
        await self.check_condemned(vault, store)
        before, events = await _info(vault), await events_of(vault)
        assert await vault.revive_accounts(provider=PROVIDER, since=before.updated_at, dry_run=True) == ONE
        assert await _info(vault) == before
        assert await events_of(vault) == events

    async def test_revived_accounts_become_due_one_after_the_other_ten_per_second(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        accounts = [Account("t1", PROVIDER, name) for name in "cab"]
        for account in accounts:
            await self.check_condemned(vault, store, account)
            clock.advance(SECOND)
        await vault.revive_accounts(provider=PROVIDER, since=clock.now() - HOUR)
        due, now = await store.accounts.reserve_due(
            PROVIDER, hold=HOUR, limit=9, since=None, until=clock.now() + MINUTE
        )
        assert [each.account for each in due] == accounts
        assert [each.due_at - now for each in due] == [timedelta(seconds=0.1) * number for number in range(3)]

    async def test_progress_is_reported(self, vault: TokenVault, store: Store) -> None:
        await self.check_condemned(vault, store)
        seen: list[RevivalReport] = []
        await vault.revive_accounts(provider=PROVIDER, since=(await _info(vault)).updated_at, progress=seen.append)
        assert seen == [ONE]


async def _info(vault: TokenVault, key: TokenKey = REFRESH) -> TokenInfo:
    return (await tokens_of(vault, key.tenant_id))[key]
