"""A tenant's own master key that fails: few calls at once, of limited length, and none right after a failure."""

import asyncio
import time

import pytest
from tests.adapters.crypto.open_keys import Seconds, SwitchableMasterKey

from vault_adapters.crypto.tenant_keys import GuardedKey
from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.ports.cipher import UnreadableError

DATA_KEY, KEY_ID = bytes(32), bytes(16)


async def reason(key):
    with pytest.raises(KeyUnavailableError) as caught:
        await key.wrap(DATA_KEY, "t1", KEY_ID)
    assert caught.value.retryable
    return caught.value.reason


async def test_nobody_asks_during_the_pause_after_a_failure_which_doubles_up_to_half_a_minute():
    inner, clock = SwitchableMasterKey(), Seconds()
    key = GuardedKey(inner, monotonic=clock)
    inner.switch_off()
    pauses = []
    for _ in range(7):
        asked, began = inner.wraps, clock.now
        assert await reason(key) == "tenant_key_unavailable"
        assert inner.wraps == asked + 1
        while inner.wraps == asked + 1:
            clock.now += 0.5
            assert await reason(key) == "tenant_key_unavailable"
        pauses.append(clock.now - began)
        clock.now += 100
        asked = inner.wraps
    assert pauses[0] <= 2.0
    assert max(pauses) <= 31.0
    inner.outage = None
    clock.now += 100
    wrapped = await key.wrap(DATA_KEY, "t1", KEY_ID)
    assert await key.unwrap(wrapped, "t1", KEY_ID) == DATA_KEY
    # A wrap that was changed is no failure of the key.
    with pytest.raises(UnreadableError):
        await key.unwrap(wrapped, "t2", KEY_ID)
    assert await key.unwrap(wrapped, "t1", KEY_ID) == DATA_KEY


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("kms_key_disabled", "key_denied"),
        ("kms_access_denied", "key_denied"),
        ("key_denied", "key_denied"),
        ("kms_region", "tenant_key_unavailable"),
        ("missing_extra", "tenant_key_unavailable"),
    ],
)
async def test_a_denial_is_told_from_an_outage(code, expected):
    inner = SwitchableMasterKey()
    key = GuardedKey(inner)
    inner.outage = ConfigurationError("refused", code=code)
    assert await reason(key) == expected
    with pytest.raises(ConfigurationError):
        await key.check()  # tells what the key service said
    inner.outage = None
    await key.check()  # also ends the pause
    await key.wrap(DATA_KEY, "t1", KEY_ID)


async def test_a_key_that_hangs_holds_two_calls_for_a_limited_time():
    inner = SwitchableMasterKey()
    inner.gate = asyncio.Event()
    key = GuardedKey(inner, seconds=0.3)
    began = time.monotonic()
    assert set(await asyncio.gather(*(reason(key) for _ in range(20)))) == {"tenant_key_unavailable"}
    assert time.monotonic() - began < 2
    assert inner.wraps == 2
    assert await reason(key) == "tenant_key_unavailable"
    assert inner.wraps == 2
    with pytest.raises(KeyUnavailableError):
        await key.check()
    inner.gate.set()
    await key.check()
    await key.wrap(DATA_KEY, "t1", KEY_ID)
