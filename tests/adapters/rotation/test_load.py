"""Keys are rotated while several real processes use the vault, and the rotation is killed at random moments."""

import random
import time
from datetime import timedelta

import pytest
from tests.adapters.rotation.place import NEW, NEWEST, OLD
from tests.adapters.rotation.workers import keys_of, rotate_everything, use_until
from tests.support.databases import both_stores
from tests.support.processes import Call, start_processes

from vault_adapters import TokenKey, TokenKind

pytestmark = [pytest.mark.processes, both_stores]

PROCESSES = 8
FULL = pytest.mark.soak


async def fill(place, keys, value):
    async with place.vault() as vault:
        for start in range(0, len(keys), 1000):
            await vault.store_tokens([(key, value(key)) for key in keys[start : start + 1000]])


def json_settings(place):
    """Return the settings with which a child opens the same database; durations are left to `Place` in the child."""
    return {name: value for name, value in place.settings.items() if not isinstance(value, timedelta)}


async def assert_all_rotated(place, secret):
    """Assert that every token is under an active data key, and that only the active master key wraps data keys."""
    async with place.vault(secret) as vault:
        status = await vault.keys.status()
        assert (status.tokens_to_reencrypt, status.wraps_missing) == (0, 0)
        assert sum(key.data_keys for key in status.master_keys) == status.active + status.decrypt_only
    assert sorted(set(place.states())) == ["active", "retired"]
    assert place.states().count("active") == 1
    under = "SELECT count(*) FROM {token} t JOIN {data_key} d USING (tenant_id, data_key_id)"
    [(active,)] = place.rows(f"{under} WHERE d.state = 'active'")
    assert place.rows("SELECT count(*) FROM {token}") == [(active,)]


@pytest.mark.parametrize(("tenants", "tokens"), [(40, 4000), pytest.param(200, 20_000, marks=FULL)])
async def test_all_keys_of_many_tokens_are_rotated_while_eight_processes_go_on(place, tmp_path, tenants, tokens):
    each = tokens // PROCESSES
    for number in range(PROCESSES):
        await fill(place, keys_of(number, tenants, each), lambda key, number=number: f"{number} first")
    stop, settings = tmp_path / "stop", json_settings(place)
    jobs = [Call(use_until, (place.url, settings, number, tenants, each, str(stop))) for number in range(PROCESSES)]
    async with place.vault(NEW, OLD) as vault:
        with start_processes(jobs) as group:
            group.go()
            for at in range(tenants):
                assert (await vault.keys.rotate_data_key(f"t{at:03d}")).rotated
            first = await vault.keys.reencrypt()
            report = await vault.keys.rotate_master_key()
            last = await vault.keys.reencrypt()
            stop.touch()
            results = group.results(timeout=120)
        assert [first.incomplete, report.incomplete, last.incomplete] == [False] * 3
        assert all(result["done"]["reads"] and result["done"]["stores"] for result in results)
        for number, result in enumerate(results):
            keys = keys_of(number, tenants, each)
            found = await vault.get_tokens(keys)
            assert {key.identifier: token.value.reveal() for key, token in found.items()} == result["held"]
    await assert_all_rotated(place, NEW)


def kill_in(job, seconds):
    """Kill a rotation after some seconds, or as soon as it is done; return whether it was done."""
    with start_processes([job]) as group:
        group.go()
        group[0].wait_for_output("opening")
        end = time.monotonic() + seconds
        while time.monotonic() < end and "done" not in group[0].stdout:
            time.sleep(0.005)
        group[0].kill()
        return "done" in group[0].stdout


@pytest.mark.parametrize(("kills", "tokens", "within"), [(5, 1500, 0.8), pytest.param(50, 20_000, 4.0, marks=FULL)])
async def test_killed_at_random_moments_and_run_again(place, kills, tokens, within):
    tenants, secrets = 30, (OLD, NEW, NEWEST)
    keys = [TokenKey(f"t{at % tenants:03d}", "acme", TokenKind.API_KEY, f"{at}") for at in range(tokens)]
    await fill(place, keys, lambda key: f"value {key.identifier}")
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    previous, secret = secrets[:2]
    for _ in range(kills):
        job = Call(rotate_everything, (place.url, json_settings(place), tenants, secret, previous))
        if kill_in(job, chance.uniform(0.0, within)):
            # This rotation was done. The next one goes on to another secret, so that there is work to interrupt.
            previous, secret = secret, secrets[(secrets.index(secret) + 1) % 3]
    assert not await rotate_everything(place.url, json_settings(place), tenants, secret, previous)
    await assert_all_rotated(place, secret)
    async with place.vault(secret) as vault:
        found = {}
        for start in range(0, len(keys), 1000):
            found |= await vault.get_tokens(keys[start : start + 1000])
        assert {key: token.value.reveal() for key, token in found.items()} == {
            key: f"value {key.identifier}" for key in keys
        }
        assert {token.info.generation for token in found.values()} == {1}
