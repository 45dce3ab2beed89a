"""Takes late writes in small parts."""

import asyncio

from tests.adapters.postgres.samples import write

from vault_adapters.stores.taking import taken
from vault_domain.entities.account import Account, TokenKind
from vault_domain.ports.late_writes import LateWrites

KEYS = [Account("acme", "google", f"u{number}").key(TokenKind.API_KEY) for number in range(1000)]


async def test_the_event_loop_runs_other_tasks_between_the_parts():
    parts, ticks = [], 0

    def take(indexes):
        parts.append((ticks, list(indexes)))
        return [write(KEYS[index]) for index in indexes]

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(tick())
    await asyncio.sleep(0)
    assert [each.key for each in await taken(LateWrites(KEYS, take))] == KEYS
    other.cancel()
    assert [index for _, indexes in parts for index in indexes] == list(range(len(KEYS)))
    assert max(len(indexes) for _, indexes in parts) < 200
    assert len({at for at, _ in parts}) == len(parts) > 4


async def test_late_writes_of_sealed_values():
    writes = [write(key) for key in KEYS[:3]]
    late = LateWrites.of(writes)
    assert late.keys == KEYS[:3]
    assert late.take([2, 0]) == [writes[2], writes[0]]
    assert await taken(LateWrites.of([])) == []
