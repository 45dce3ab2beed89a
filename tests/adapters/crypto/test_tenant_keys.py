"""A tenant's own master key that fails: few calls at once, of limited length, and none right after a failure."""

import asyncio
import time

import pytest
from tests.adapters.crypto.open_keys import Seconds, SwitchableMasterKey, keyring_over
from tests.support.transit_server import running

from vault_adapters.crypto.tenant_keys import GuardedKey, TenantKeys
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
    assert 0.5 < pauses[0] <= 2.0
    assert 22.0 < max(pauses) <= 31.0
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


async def test_after_the_pause_one_call_tries_the_key_and_the_others_do_not_wait_for_it():
    inner, clock = SwitchableMasterKey(), Seconds()
    inner.switch_off()
    key = GuardedKey(inner, monotonic=clock)
    assert await reason(key) == "tenant_key_unavailable"
    clock.now += 1
    inner.outage, inner.gate = None, asyncio.Event()
    trying = asyncio.ensure_future(key.wrap(DATA_KEY, "t1", KEY_ID))
    await asyncio.sleep(0)
    assert set(await asyncio.gather(*(reason(key) for _ in range(5)))) == {"tenant_key_unavailable"}
    assert inner.wraps == 2
    inner.gate.set()
    await trying
    await asyncio.gather(*(key.wrap(DATA_KEY, "t1", KEY_ID) for _ in range(5)))
    # A call that is given up tries no longer.
    inner.switch_off()
    assert await reason(key) == "tenant_key_unavailable"
    clock.now += 1
    inner.outage, inner.gate = None, asyncio.Event()
    trying = asyncio.ensure_future(key.wrap(DATA_KEY, "t1", KEY_ID))
    await asyncio.sleep(0)
    trying.cancel()
    inner.gate.set()
    await asyncio.gather(trying, return_exceptions=True)
    await key.wrap(DATA_KEY, "t1", KEY_ID)


async def test_keys_that_fail_at_the_same_moment_are_not_tried_again_at_the_same_moment():
    inner, clock = SwitchableMasterKey(), Seconds()
    inner.switch_off()
    keys = [GuardedKey(inner, monotonic=clock) for _ in range(40)]
    for key in keys:
        await reason(key)
    clock.now += 0.875
    for key in keys:
        await reason(key)
    assert 41 < inner.wraps < 79
    clock.now += 0.125
    for key in keys:
        await reason(key)
    assert inner.wraps == 80


async def test_a_reader_of_a_dead_key_takes_no_turn_at_the_vaults_master_key(repository, tmp_path):
    """A key service that all tenants share is not asked for a tenant whose own key is in its pause."""
    master, clock, pause = SwitchableMasterKey(), Seconds(), Seconds()
    with running() as transit:
        tenant_keys = TenantKeys(transit.tokens(tmp_path), monotonic=pause)
        keyring = keyring_over(repository, master, monotonic=clock, tenant_keys=tenant_keys)
        record = await repository.create_data_key(await keyring.make_data_key("t1", transit.uri("dead")))
        transit.make("dead", "denied")
        for asked in (1, 1, 1):
            with pytest.raises(KeyUnavailableError) as caught:
                await keyring.find_key("t1", record.key_id)
            assert (caught.value.reason, master.unwraps) == ("key_denied", asked)
            clock.now += 0.6  # the keyring's own memory of the refusal is over
        transit.make("dead", "ok")
        pause.now += 1
        assert (await keyring.find_key("t1", record.key_id)).key_id == record.key_id
