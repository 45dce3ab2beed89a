"""When uses of tokens are recorded."""

from __future__ import annotations

from datetime import timedelta

from tests.services.over_dict import OverDict

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ACCESS, ACCOUNT, REFRESH, ContractFixtures, tokens_of
from vault_domain.entities.account import TokenKey
from vault_domain.entities.token import TokenInfo
from vault_domain.entities.token_set import TokenSet

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class TestUses(OverDict, ContractFixtures):
    """The time of a token's last use."""

    async def test_a_use_is_recorded_once_a_minute_and_never_goes_back(self, store: Store, clock: ManualClock) -> None:
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

    async def test_the_use_of_a_deleted_token_is_dropped(self, store: Store, clock: ManualClock) -> None:
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

    async def test_reads_write_nothing_and_closing_writes_their_uses(self, store: Store, clock: ManualClock) -> None:
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


async def _info(store: Store, key: TokenKey) -> TokenInfo | None:
    row = (await store.accounts.get(key)).row
    return None if row is None else row.info
