"""Concurrent calls over one store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

from vault_adapters.testing.contract.fixtures import (
    ACCESS,
    ACCOUNT,
    REFRESH,
    ContractFixtures,
    events_of,
    key,
    tokens_of,
    value_of,
)
from vault_domain.entities.errors import GenerationConflictError
from vault_domain.entities.token import Token, TokenInfo
from vault_domain.entities.token_set import TokenSet
from vault_domain.facade.vault import TokenVault

T = TypeVar("T")
WRITERS = 64
_ROUNDS = 100
"""Largest number of checks, 0.05 s apart, within which all writes of cancelled callers must end."""


async def outcomes(calls: Iterable[Awaitable[T]]) -> tuple[list[T], list[BaseException]]:
    """Run calls concurrently; return their results and their errors."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    return [result for result in results if not isinstance(result, BaseException)], errors


class ConcurrencyCases(ContractFixtures):
    """Races between the calls of one vault."""

    async def test_many_writers_of_one_key_leave_one_row(self, vault: TokenVault) -> None:
        stored = await asyncio.gather(*(vault.store_token(ACCESS, f"v{number}") for number in range(WRITERS)))
        assert sorted(info.generation for info in stored) == list(range(1, WRITERS + 1))
        assert len({info.id for info in stored}) == 1
        [last] = [number for number, info in enumerate(stored) if info.generation == WRITERS]
        assert await value_of(vault, ACCESS) == f"v{last}"
        assert (await tokens_of(vault))[ACCESS].generation == WRITERS
        assert [event.generation for event in await events_of(vault)] == list(range(1, WRITERS + 1))

    async def test_only_one_writer_per_expected_generation_wins(self, vault: TokenVault) -> None:
        for expected in range(3):
            won, lost = await outcomes(
                vault.store_token(ACCESS, f"v{number}", expected_generation=expected) for number in range(16)
            )
            assert [info.generation for info in won] == [expected + 1]
            assert [type(error) for error in lost] == [GenerationConflictError] * 15

    async def test_batches_in_any_order_do_not_block_each_other(self, vault: TokenVault) -> None:
        keys = [key(number) for number in range(30)]
        batches = [keys[shift:] + keys[:shift] for shift in range(12)] + [keys[::-1]] * 4
        await asyncio.gather(*(vault.store_tokens([(each, "v") for each in batch]) for batch in batches))
        assert {info.generation for info in (await tokens_of(vault)).values()} == {len(batches)}

    async def test_readers_never_see_half_a_token_set(self, vault: TokenVault) -> None:
        await vault.store_token_set(ACCOUNT, TokenSet("0", "0"))

        async def write(number: int) -> None:
            await vault.store_token_set(ACCOUNT, TokenSet(str(number), str(number)))

        async def read() -> None:
            found = await vault.get_tokens([ACCESS, REFRESH])
            assert found[ACCESS].value == found[REFRESH].value
            assert found[ACCESS].info.generation == found[REFRESH].info.generation

        await asyncio.gather(*(write(number) for number in range(20)), *(read() for _ in range(60)))
        await read()

    async def test_deleting_and_storing_at_once_leaves_a_whole_row_or_none(self, vault: TokenVault) -> None:
        async def store(number: int) -> TokenInfo:
            return await vault.store_token(ACCESS, f"v{number}")

        for _ in range(5):
            await asyncio.gather(
                *(store(number) for number in range(5)),
                *(vault.delete_token(ACCESS) for _ in range(3)),
                vault.delete_account(ACCOUNT),
                vault.delete_provider_tokens("t1", "google"),
            )
            token = await vault.get_token(ACCESS)
            assert len(await tokens_of(vault)) == (token is not None)
            assert (await vault.get_account(ACCOUNT) is None) == (token is None)

    async def test_a_cancelled_writer_leaves_the_store_usable(self, vault: TokenVault) -> None:
        for ticks in range(12):
            tasks = [asyncio.create_task(vault.store_token(key(number), "v")) for number in range(4)]
            for _ in range(ticks):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert [task.cancelled() for task in tasks[1::2]] == [False, False]
        assert (await vault.store_token(key("after"), "v")).generation == 1
        # Cancelling a caller does not cancel its write, and a page of events may leave out events while a write runs.
        for _ in range(_ROUNDS):
            stored = len([event for event in await events_of(vault) if event.generation])
            generations = sum(info.generation for info in (await tokens_of(vault)).values())
            if stored == generations:
                break
            await asyncio.sleep(0.05)
        assert stored == generations

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
