"""Fifty tenants whose keys do not answer cost the other tenants nothing that they could notice."""

import asyncio
import statistics
import time
from contextlib import asynccontextmanager, suppress

from tests.support.transit_server import running

from vault_adapters import KeyUnavailableError, TokenKey, TokenKind, Tuning

DEAD, REST, OWN = 50, 40, 10
WINDOW = 10.0
READS = 2000


def keys(kind, count):
    return [TokenKey(f"{kind}{number}", "acme", TokenKind.API_KEY) for number in range(count)]


async def use(vault, key, seconds):
    """Read like the rest of a service does that does not know of the dead key; return how long the reads took."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        with suppress(KeyUnavailableError):
            await vault.get_token(key)
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.25)
    return took


async def read_rest(vault, wanted):
    """Read the values of the other tenants, many at once; return how long the slowest read took, in seconds."""
    slowest = 0.0

    async def one(lane):
        nonlocal slowest
        for number in range(READS // 10):
            started = time.monotonic()
            await vault.get_token(wanted[(lane + number) % len(wanted)])
            slowest = max(slowest, time.monotonic() - started)

    await asyncio.gather(*map(one, range(10)))
    return slowest


@asynccontextmanager
async def used(place, tuning, dead, mode, transit):
    """Open a vault in which the tenants with dead keys, or living ones, are read all the time."""
    for key in dead:
        transit.make(key.tenant_id, mode)
    async with place.vault(tuning=tuning) as vault:
        users = [asyncio.ensure_future(use(vault, key, 3600)) for key in dead]
        await asyncio.sleep(1)
        yield vault
        for user in users:
            user.cancel()
        await asyncio.gather(*users, return_exceptions=True)


async def test_fifty_tenants_with_dead_keys_do_not_cost_the_rest(place, tmp_path):
    """The rest's tenants have the vault's master key, or keys of their own at the very server that hangs for others."""
    dead, rest, own = keys("dead", DEAD), keys("rest", REST), keys("own", OWN)
    with running() as transit:
        tuning = Tuning(key_service_tokens=transit.tokens(tmp_path))
        async with place.vault(tuning=tuning) as vault:
            await vault.store_tokens([(key, "value") for key in (*dead, *rest, *own)])
            for key in (*dead, *own):
                await vault.keys.set_tenant_master_key(key.tenant_id, transit.uri(key.tenant_id))
        share, slowest = {}, {}
        for mode in ("ok", "hang"):
            async with used(place, tuning, dead, mode, transit) as vault:
                began, cpu = time.monotonic(), time.process_time()
                await asyncio.sleep(WINDOW)
                share[mode] = (time.process_time() - cpu) / (time.monotonic() - began)
                slowest[mode] = await read_rest(vault, [*rest, *own])
        print(f"\nof one core: {share}; slowest of {READS} reads of the others: {slowest} seconds")
        assert share["hang"] < share["ok"] + 0.05
        assert slowest["hang"] < 1.0  # one call to the key service that hangs takes five
        # A reader of a dead tenant waits for a bounded time, and mostly not at all.
        async with place.vault(tuning=tuning) as vault:
            took = await use(vault, dead[0], 8)
            assert max(took) < 6
            assert statistics.median(took) < 0.1
            assert transit.asked("dead0") < 200
