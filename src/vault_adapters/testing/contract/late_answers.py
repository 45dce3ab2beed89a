"""Cases in which something changes for the account between the request to its provider and the provider's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, events_of, rows_of, tokens_of, value_of
from vault_adapters.testing.contract.refreshing import HOUR, LEASE, MINUTE, state_of, token_set
from vault_adapters.testing.contract.sweeps import NON_ROTATING, RefreshFixtures
from vault_adapters.testing.refresher import ScriptedRefresher
from vault_domain.entities.account import ConnectionState
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import ReauthorizationRequiredError, VaultError
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault
from vault_domain.ports.token_refresher import RefreshRequest

Meanwhile = Callable[[], Awaitable[object]]


def _after(meanwhile: Meanwhile, result: TokenSet | Exception) -> Callable[[RefreshRequest], Awaitable[TokenSet]]:
    """Return a step of a refresher's script that runs ``meanwhile``, and then answers with ``result``."""

    async def ask(request: RefreshRequest) -> TokenSet:
        await meanwhile()
        if isinstance(result, Exception):
            raise result
        return result

    return ask


async def _values(vault: TokenVault) -> tuple[str | None, str | None]:
    return await value_of(vault, ACCESS), await value_of(vault, REFRESH)


class LateAnswerCases(RefreshFixtures, given=("expired",)):
    """Refreshes during which the lease ends, or another process changes the account or its tenant.

    `vault`, or a second vault with a refresher of its own, stands for the other process.
    """

    @pytest.fixture
    async def expired(self, sweeping: TokenVault, clock: ManualClock) -> None:
        """Let the access token expire."""
        clock.advance(HOUR)

    async def test_a_refresh_that_outlasts_its_lease_is_stored(
        self, sweeping: TokenVault, vault: TokenVault, refresher: ScriptedRefresher, store: Store, clock: ManualClock
    ) -> None:
        async def meanwhile() -> None:
            clock.advance(5 * MINUTE)

        refresher.then(_after(meanwhile, token_set(1, 2 * HOUR)))
        assert (await sweeping.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
        assert await _values(vault) == ("access-1", "refresh-1")
        info = await vault.get_account(ACCOUNT)
        assert info is not None
        assert info.state is ConnectionState.CONNECTED
        assert (await state_of(store)).lease_until is None

    async def test_an_answer_that_another_attempt_has_overtaken_is_dropped(
        self, sweeping: TokenVault, vault: TokenVault, refresher: ScriptedRefresher, store: Store, clock: ManualClock
    ) -> None:
        faster = ScriptedRefresher(token_set(2))

        async def meanwhile() -> None:
            clock.advance(LEASE + MINUTE)  # lease and quiescence are over
            async with self.vault_over(store, refreshers={ACCOUNT.provider: faster}) as other:
                assert (await other.ensure_access_token(ACCOUNT)).value.reveal() == "access-2"

        refresher.then(_after(meanwhile, token_set(1)))
        assert (await sweeping.ensure_access_token(ACCOUNT)).value.reveal() == "access-2"
        assert await _values(vault) == ("access-2", "refresh-2")

    async def test_if_the_credential_stays_the_later_answer_is_dropped(
        self, vault: TokenVault, store: Store, clock: ManualClock
    ) -> None:
        faster = ScriptedRefresher(token_set(2, rotates=False), rotation=NON_ROTATING)

        async def meanwhile() -> None:
            clock.advance(LEASE)
            async with self.vault_over(store, refreshers={ACCOUNT.provider: faster}) as other:
                await other.ensure_access_token(ACCOUNT)

        slow = ScriptedRefresher(_after(meanwhile, token_set(1, rotates=False)), rotation=NON_ROTATING)
        async with self.vault_over(store, refreshers={ACCOUNT.provider: slow}) as other:
            assert (await other.ensure_access_token(ACCOUNT)).value.reveal() == "access-2"
        assert await _values(vault) == ("access-2", "refresh-0")

    async def test_a_late_rejection_does_not_mark_what_was_stored_meanwhile(
        self, sweeping: TokenVault, vault: TokenVault, refresher: ScriptedRefresher
    ) -> None:
        refused = ReauthorizationRequiredError(reason="invalid_grant")
        refresher.then(_after(lambda: vault.store_token_set(ACCOUNT, token_set(7)), refused))
        assert (await sweeping.ensure_access_token(ACCOUNT)).value.reveal() == "access-7"
        assert {info.error_code for info in (await tokens_of(vault)).values()} == {None}

    async def test_a_data_key_that_was_rotated_meanwhile(
        self, sweeping: TokenVault, vault: TokenVault, refresher: ScriptedRefresher, store: Store
    ) -> None:
        refresher.then(_after(lambda: vault.keys.rotate_data_key(ACCOUNT.tenant_id), token_set(1)))
        assert (await sweeping.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
        assert await _values(vault) == ("access-1", "refresh-1")
        active = await store.keys.active_data_key(ACCOUNT.tenant_id)
        rows = await rows_of(store, [ACCESS, REFRESH])
        assert active is not None
        assert {row.sealed.data_key_id for row in rows} == {active.key_id}

    async def test_an_account_that_was_deleted_meanwhile_stays_deleted(
        self, sweeping: TokenVault, vault: TokenVault, refresher: ScriptedRefresher
    ) -> None:
        refresher.then(_after(lambda: vault.delete_account(ACCOUNT), token_set(1)))
        with pytest.raises(VaultError):
            await sweeping.ensure_access_token(ACCOUNT)
        assert await tokens_of(vault) == {}
        assert await vault.get_account(ACCOUNT) is None

    @pytest.mark.parametrize("result", [token_set(1), ReauthorizationRequiredError(reason="invalid_grant"), OSError()])
    async def test_a_tenant_that_was_erased_meanwhile_stays_erased(
        self,
        sweeping: TokenVault,
        vault: TokenVault,
        refresher: ScriptedRefresher,
        store: Store,
        result: TokenSet | Exception,
    ) -> None:
        refresher.then(_after(lambda: vault.erase_tenant(ACCOUNT.tenant_id), result))
        with pytest.raises(VaultError):
            await sweeping.ensure_access_token(ACCOUNT)
        assert await tokens_of(vault) == {}
        assert await vault.get_account(ACCOUNT) is None
        assert await store.keys.active_data_key(ACCOUNT.tenant_id) is None
        assert [event.action for event in await events_of(vault, ACCOUNT.tenant_id)] == [
            AuditAction.DATA_KEY_DESTROYED,
            AuditAction.TENANT_ERASED,
        ]

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
            assert await store.keys.active_data_key(ACCOUNT.tenant_id) is None
            await sweeping.store_token_set(ACCOUNT, token_set())
            assert await _values(vault) == ("access-0", "refresh-0")
