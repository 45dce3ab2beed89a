"""Fifty tenants whose keys do not answer keep the other tenants from nothing.

What they cost is measured by the benchmark ``dead-keys``.
"""

import asyncio
import statistics
import time
from contextlib import suppress

from tests.support.transit_server import running

from vault_adapters import KeyUnavailableError, TokenKey, TokenKind, Tuning

DEAD, REST, OWN = 50, 40, 10
HANGING = 5.0  # seconds after which the vault gives a call to a key service up


def keys(kind, count):
    return [TokenKey(f"{kind}{number}", "acme", TokenKind.API_KEY) for number in range(count)]


async def read_again_and_again(vault, wanted, seconds, pause):
    """Read values in turn like a service that knows of no dead key; return how long each read took, in seconds."""
    took, end = [], time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        with suppress(KeyUnavailableError):
            await vault.get_token(wanted[len(took) % len(wanted)])
        took.append(time.monotonic() - began)
        await asyncio.sleep(pause)
    return took


async def test_fifty_tenants_with_dead_keys_do_not_hold_up_the_rest(place, tmp_path):
    """The rest's tenants have the vault's master key, or keys of their own at the very server that hangs for others."""
    dead, rest, own = keys("dead", DEAD), keys("rest", REST), keys("own", OWN)
    with running() as transit:
        tuning = Tuning(key_service_tokens=transit.tokens(tmp_path))
        async with place.vault(tuning=tuning) as vault:
            await vault.store_tokens([(key, "value") for key in (*dead, *rest, *own)])
            for key in (*dead, *own):
                await vault.keys.set_tenant_master_key(key.tenant_id, transit.uri(key.tenant_id))
        for key in dead:
            transit.make(key.tenant_id, "hang")
        async with place.vault(tuning=tuning) as vault:
            of_dead, of_rest = [
                [read_again_and_again(vault, [key], 7, 0.25) for key in dead],
                [read_again_and_again(vault, [*rest[lane:], *own], 7, 0.02) for lane in range(10)],
            ]
            took = await asyncio.gather(*of_dead, *of_rest)
        waited = [max(seconds) for seconds in took]
        assert max(waited[DEAD:]) < HANGING / 2
        # A reader of a dead tenant waits for a bounded time, and mostly not at all.
        assert max(waited[:DEAD]) < HANGING * 2
        assert max(map(statistics.median, took[:DEAD])) < HANGING / 10
        assert max(transit.asked(key.tenant_id) for key in dead) < 10
