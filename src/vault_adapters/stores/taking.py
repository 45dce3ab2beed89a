"""Takes `LateWrites` in small parts, so that sealing them does not hold the event loop for long."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from vault_domain.ports.late_writes import LateWrites, W

VALUES_AT_ONCE = 128
"""Number of values to seal or to decode before yielding to the event loop; about a millisecond of work."""


async def taking(writes: LateWrites[W], indexes: Sequence[int]) -> AsyncIterator[list[W]]:
    """Yield the writes of the keys at these indexes in parts of `VALUES_AT_ONCE`; other tasks run in between."""
    for start in range(0, len(indexes), VALUES_AT_ONCE):
        yield writes.take(indexes[start : start + VALUES_AT_ONCE])
        await asyncio.sleep(0)


async def taken(writes: Sequence[W] | LateWrites[W]) -> Sequence[W]:
    """Return all writes in the order of the keys."""
    if not isinstance(writes, LateWrites):
        return writes
    return [write async for part in taking(writes, range(len(writes.keys))) for write in part]
