"""Values that do not open."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.services.over_dict import OverDict

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    REFRESH,
    ContractFixtures,
    key,
    tokens_of,
    value_of,
)
from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.errors import DecryptionError
from vault_domain.entities.token import SealedToken, Token, TokenWrite
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault


class TestDecryption(OverDict, ContractFixtures):
    """Sealed values that were changed."""

    @pytest.mark.parametrize("flip", [0, 1, 2, 3, 4, 20, 36, 48, 80, -16, -1])
    async def test_a_changed_value_does_not_open(self, store: Store, vault: TokenVault, flip: int) -> None:
        await vault.store_token(ACCESS, "v")
        await put(store, ACCESS, ACCESS, flip)
        with pytest.raises(DecryptionError):
            await vault.get_token(ACCESS)
        await put(store, ACCESS, ACCESS, flip)
        assert await value_of(vault, ACCESS) == "v"

    async def test_the_methods_that_hand_out_values_refuse(self, store: Store, vault: TokenVault) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r"))
        await put(store, ACCESS, ACCESS, -1)
        await put(store, REFRESH, REFRESH, -1)
        with pytest.raises(DecryptionError):
            await vault.get_access_token(ACCOUNT)
        with pytest.raises(DecryptionError):
            await vault.get_refresh_token(ACCOUNT)
        assert (await vault.health()).failed_reads == 2

    async def test_a_tenants_failed_reads_are_its_own(self, store: Store, vault: TokenVault) -> None:
        other = TokenKey("t2", "google", TokenKind.ACCESS_TOKEN)
        for target in (ACCESS, other):
            await vault.store_token(target, "v")
            await put(store, target, target, -1)
        for target in (ACCESS, other, other):
            with pytest.raises(DecryptionError):
                await vault.get_token(target)
        counts = [(await vault.health(tenant_id=tenant)).failed_reads for tenant in (None, "t1", "t2", "t3")]
        assert counts == [3, 1, 2, 0]

    async def test_many_names_all_that_do_not_open(self, store: Store, vault: TokenVault) -> None:
        keys = [key(number) for number in range(20)]
        await vault.store_tokens([(each, "v") for each in keys])
        bad = keys[3], keys[11], keys[19]
        for each in bad:
            await put(store, each, each, -1)
        with pytest.raises(DecryptionError) as caught:
            await vault.get_tokens(keys)
        assert set(caught.value.keys) == set(bad)
        good = [each for each in keys if each not in bad]
        assert list(await vault.get_tokens(good)) == good
        assert (await vault.health()).failed_reads == 3

    async def test_what_decrypts_nothing_goes_on(self, store: Store, vault: TokenVault, clock: ManualClock) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("a", "r", expires_in=60))
        await put(store, REFRESH, ACCESS)
        assert set(await tokens_of(vault)) == {ACCESS, REFRESH}
        assert len((await vault.find_expiring_tokens(timedelta(minutes=2))).items) == 1
        assert await vault.get_account(ACCOUNT) is not None
        assert (await vault.health()).ok
        info = (await tokens_of(vault))[REFRESH]
        await vault.mark_token_invalid(info, "x")
        assert (await vault.store_token(REFRESH, "new")).generation == info.generation + 1
        assert await value_of(vault, REFRESH) == "new"
        await put(store, ACCESS, REFRESH)
        assert await vault.delete_token(ACCESS) is True

    async def test_reads_that_go_together_fail_apart(self, store: Store, vault: TokenVault) -> None:
        keys = [key(number) for number in range(60)]
        await vault.store_tokens([(each, str(number)) for number, each in enumerate(keys)])
        for each in keys[::7]:
            await put(store, each, each, -1)
        results = await asyncio.gather(*map(vault.get_token, [*keys, key("missing")]), return_exceptions=True)
        assert results.pop() is None
        for number, result in enumerate(results):
            if number % 7 == 0:
                assert isinstance(result, DecryptionError)
                assert result.keys == (keys[number],)
            else:
                assert isinstance(result, Token)
                assert result.value.reveal() == str(number)


async def put(store: Store, target: TokenKey, source: TokenKey, flip: int | None = None) -> None:
    """Store the sealed value of ``source`` under ``target``; change one bit of the byte at index ``flip``, if given."""
    row = (await store.accounts.get(source)).row
    assert row is not None
    blob = bytearray(row.sealed.blob)
    if flip is not None:
        blob[flip] ^= 1
    sealed = SealedToken(row.sealed.data_key_id, bytes(blob))
    await store.accounts.store([TokenWrite(target, sealed)], actor=None)
