"""A value opens only in its own context, and an unreadable value does not block other values."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    REFRESH,
    ContractFixtures,
    key,
    row_of,
    tokens_of,
    value_of,
)
from vault_domain.entities.account import TokenKey
from vault_domain.entities.errors import DecryptionError
from vault_domain.entities.token import SealedToken, Token, TokenWrite
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault


async def put(store: Store, target: TokenKey, source: TokenKey, flip: int | None = None) -> None:
    """Store the sealed value of ``source`` under ``target``; change one bit of the byte at index ``flip``, if given."""
    row = await row_of(store, source)
    blob = bytearray(row.sealed.blob)
    if flip is not None:
        blob[flip] ^= 1
    sealed = SealedToken(row.sealed.data_key_id, bytes(blob))
    await store.accounts.store([TokenWrite(target, sealed)], actor=None)


class DecryptionCases(ContractFixtures):
    """Sealed values that were changed or moved to another key."""

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

    async def test_a_cancelled_reader_only_leaves(self, vault: TokenVault) -> None:
        keys = [key(number) for number in range(60)]
        await vault.store_tokens([(each, str(number)) for number, each in enumerate(keys)])
        for ticks in range(6):
            tasks = [asyncio.create_task(vault.get_token(each)) for each in [*keys, *keys]]
            for _ in range(ticks):
                await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for number, result in enumerate(results):
                if isinstance(result, Token):
                    assert result.value.reveal() == str(number % 60)
                else:
                    assert isinstance(result, asyncio.CancelledError)
                    assert number % 3 == 0
