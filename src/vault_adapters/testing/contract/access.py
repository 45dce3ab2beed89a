"""What may be used now, and when a token was last used."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures, tokens_of
from vault_domain.entities.account import TokenKey
from vault_domain.entities.token import TokenInfo
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


async def _needs_refresh(vault: TokenVault, buffer: timedelta | None = None) -> bool | None:
    usable = await vault.get_access_token(ACCOUNT, refresh_buffer=buffer)
    return None if usable is None else usable.needs_refresh


async def _info(store: Store, key: TokenKey) -> TokenInfo | None:
    row = (await store.tokens.get(key)).row
    return None if row is None else row.info


class AccessCases(ContractFixtures):
    """get_access_token, get_refresh_token and use tracking."""

    async def test_by_the_stores_clock(self, vault: TokenVault, clock: ManualClock) -> None:
        await vault.store_token(ACCESS, "v", expires_at=clock.now() + 60 * MINUTE)
        assert await _needs_refresh(vault) is False
        clock.advance(55 * MINUTE - SECOND)
        assert await _needs_refresh(vault) is False
        clock.advance(SECOND)
        assert await _needs_refresh(vault) is True
        assert await _needs_refresh(vault, timedelta(0)) is False
        clock.advance(5 * MINUTE - SECOND)
        assert await _needs_refresh(vault, timedelta(0)) is False
        clock.advance(SECOND)
        assert await _needs_refresh(vault) is None
        assert await vault.get_token(ACCESS) is not None

    async def test_the_configured_buffer_is_capped_at_half_of_the_lifetime(
        self, vault: TokenVault, clock: ManualClock
    ) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("v", expires_in=MINUTE))
        assert await _needs_refresh(vault) is False
        assert await _needs_refresh(vault, 5 * MINUTE) is True
        clock.advance(30 * SECOND)
        assert await _needs_refresh(vault) is True

    async def test_without_expiry_it_is_never_due(self, vault: TokenVault, clock: ManualClock) -> None:
        await vault.store_token(ACCESS, "v")
        clock.advance(timedelta(days=30_000))
        assert await _needs_refresh(vault, timedelta(days=36_000)) is False

    @pytest.mark.parametrize("how", ["missing", "invalid", "expired"])
    async def test_what_cannot_be_used_is_none(self, vault: TokenVault, clock: ManualClock, how: str) -> None:
        for key in (ACCESS, REFRESH):
            if how != "missing":
                info = await vault.store_token(key, "v", expires_at=clock.now() + (how == "invalid") * MINUTE)
            if how == "invalid":
                await vault.mark_token_invalid(info, "invalid_grant")
        assert await vault.get_access_token(ACCOUNT) is None
        assert await vault.get_refresh_token(ACCOUNT) is None

    async def test_the_refresh_token(self, vault: TokenVault, clock: ManualClock) -> None:
        token_set = TokenSet("a", "r", expires_in=MINUTE, refresh_token_expires_at=clock.now() + 10 * MINUTE)
        await vault.store_token_set(ACCOUNT, token_set)
        clock.advance(10 * MINUTE - SECOND)
        token = await vault.get_refresh_token(ACCOUNT)
        assert token is not None
        assert token.value.reveal() == "r"
        clock.advance(SECOND)
        assert await vault.get_refresh_token(ACCOUNT) is None

    async def test_reads_write_nothing_and_uses_arrive_on_closing(self, store: Store, clock: ManualClock) -> None:
        async with self.vault_over(store) as vault:
            await vault.store_token_set(ACCOUNT, TokenSet("a", "r"))
            before = await tokens_of(vault)
            clock.advance(MINUTE)
            await vault.get_access_token(ACCOUNT)
            await vault.get_refresh_token(ACCOUNT)
            assert await tokens_of(vault) == before
        for key in (ACCESS, REFRESH):
            info = await _info(store, key)
            assert info is not None
            assert info.last_used_at == clock.now()
            assert info.updated_at == before[key].updated_at
            assert info.generation == before[key].generation

    async def test_a_use_is_noted_once_a_minute_and_never_goes_back(self, store: Store, clock: ManualClock) -> None:
        start = clock.now()

        async def use(*moments: timedelta) -> timedelta | None:
            async with self.vault_over(store) as vault:
                for moment in moments:
                    clock.set(start + moment)
                    await vault.get_tokens([ACCESS])
            info = await _info(store, ACCESS)
            return None if info is None or info.last_used_at is None else info.last_used_at - start

        async with self.vault_over(store) as vault:
            await vault.store_token(ACCESS, "v")
        assert await use() is None
        assert await use(MINUTE, MINUTE + 59 * SECOND) == MINUTE
        assert await use(5 * MINUTE, 6 * MINUTE) == 6 * MINUTE
        assert await use(timedelta(0)) == 6 * MINUTE

    async def test_the_use_of_a_token_that_is_gone_is_dropped(self, store: Store, clock: ManualClock) -> None:
        async with self.vault_over(store) as vault:
            await vault.store_token(ACCESS, "v")
            await vault.get_token(ACCESS)
            await vault.delete_token(ACCESS)
        assert await _info(store, ACCESS) is None
        async with self.vault_over(store) as vault:
            await vault.store_token(ACCESS, "v")
            await vault.get_token(ACCESS)
            await vault.delete_token(ACCESS)
            await vault.store_token(ACCESS, "w")
        info = await _info(store, ACCESS)
        assert info is not None
        assert info.last_used_at is None
