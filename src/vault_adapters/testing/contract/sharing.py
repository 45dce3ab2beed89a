"""Cases in which several stores are open on one database."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ContractFixtures,
    OpenStore,
    events_of,
    rows_of,
    tokens_of,
    value_of,
)
from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.facade.vault import TokenVault


async def _open_several(
    case: SharingCases, open_store: OpenStore, clock: ManualClock, stack: AsyncExitStack, count: int
) -> list[TokenVault]:
    """Open the database and a vault over it several times, at the same moment."""
    contexts = [AsyncExitStack() for _ in range(count)]
    for context in contexts:
        stack.push_async_callback(context.aclose)

    async def open_one(context: AsyncExitStack) -> TokenVault:
        store = await context.enter_async_context(open_store(clock))
        return await context.enter_async_context(case.vault_over(store))

    return await asyncio.gather(*map(open_one, contexts))


class SharingCases(ContractFixtures):
    """Guarantees on which several processes with one database rely."""

    async def test_vaults_opened_at_once_share_one_master_key(self, open_store: OpenStore, clock: ManualClock) -> None:
        async with AsyncExitStack() as stack:
            vaults = await _open_several(self, open_store, clock, stack, 4)
            for number, vault in enumerate(vaults):
                await vault.store_token(TokenKey("t1", "google", TokenKind.API_KEY, str(number)), str(number))
            for vault in vaults:
                found = await tokens_of(vault)
                assert len(await vault.get_tokens(found)) == 4
            store = await stack.enter_async_context(open_store(clock))
            assert len(await store.keys.master_keys()) == 1

    async def test_first_tokens_of_all_vaults_share_a_data_key(self, open_store: OpenStore, clock: ManualClock) -> None:
        keys = [TokenKey("new", "google", TokenKind.API_KEY, str(number)) for number in range(8)]
        async with AsyncExitStack() as stack:
            vaults = await _open_several(self, open_store, clock, stack, 8)
            await asyncio.gather(*(vault.store_token(key, "v") for vault, key in zip(vaults, keys, strict=True)))
            for vault in vaults:
                assert len(await vault.get_tokens(keys)) == 8
            store = await stack.enter_async_context(open_store(clock))
            rows = await rows_of(store, keys)
            assert len({row.sealed.data_key_id for row in rows}) == 1

    async def test_several_writers_of_one_key_leave_one_row(self, open_store: OpenStore, clock: ManualClock) -> None:
        async with AsyncExitStack() as stack:
            vaults = await _open_several(self, open_store, clock, stack, 4)
            stored = await asyncio.gather(
                *(vaults[number % 4].store_token(ACCESS, f"v{number}") for number in range(64))
            )
            assert sorted(info.generation for info in stored) == list(range(1, 65))
            assert len({info.id for info in stored}) == 1
            [last] = [number for number, info in enumerate(stored) if info.generation == 64]
            assert {await value_of(vault, ACCESS) for vault in vaults} == {f"v{last}"}
            for vault in vaults:
                assert len(await events_of(vault)) == 64

    async def test_what_one_vault_writes_another_reads(self, open_store: OpenStore, clock: ManualClock) -> None:
        async with AsyncExitStack() as stack:
            one, other = await _open_several(self, open_store, clock, stack, 2)
            first = await one.store_token(ACCESS, "v1")
            assert await value_of(other, ACCESS) == "v1"
            await other.mark_token_invalid(first, "invalid_token")
            assert await one.get_access_token(ACCESS.account) is None
            assert await other.delete_token(ACCESS) is True
            assert await one.get_token(ACCESS) is None
