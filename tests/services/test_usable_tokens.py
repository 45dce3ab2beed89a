"""Access tokens and refresh tokens that a caller may use now."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.services.over_dict import OverDict

from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class TestUsableTokens(OverDict, ContractFixtures):
    """`TokenVault.get_access_token` and `get_refresh_token`."""

    async def test_due_and_expired_follow_the_stores_clock(self, vault: TokenVault, clock: ManualClock) -> None:
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

    async def test_a_refresh_token_is_returned_until_it_expires(self, vault: TokenVault, clock: ManualClock) -> None:
        token_set = TokenSet("a", "r", expires_in=MINUTE, refresh_token_expires_at=clock.now() + 10 * MINUTE)
        await vault.store_token_set(ACCOUNT, token_set)
        clock.advance(10 * MINUTE - SECOND)
        token = await vault.get_refresh_token(ACCOUNT)
        assert token is not None
        assert token.value.reveal() == "r"
        clock.advance(SECOND)
        assert await vault.get_refresh_token(ACCOUNT) is None


async def _needs_refresh(vault: TokenVault, buffer: timedelta | None = None) -> bool | None:
    usable = await vault.get_access_token(ACCOUNT, refresh_buffer=buffer)
    return None if usable is None else usable.needs_refresh
