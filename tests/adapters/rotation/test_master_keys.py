"""Rotating the master key: a rolling deployment step by step, and what is refused on the way."""

import asyncio

import pytest
from tests.adapters.rotation.place import NEW, NEWEST, OLD, read_all
from tests.support.databases import both_stores

from vault_adapters import (
    AuditAction,
    ConfigurationError,
    KeyUnavailableError,
    MasterKeyState,
    TokenKey,
    TokenKind,
    WrongEncryptionSecretError,
)
from vault_adapters.testing.contract.master_keys import activate, retire

KEYS = [TokenKey(f"t{number}", "acme", TokenKind.API_KEY) for number in range(4)]
VALUES = [f"value {number}" for number in range(4)]


async def fill(place):
    async with place.vault() as vault:
        await vault.store_tokens(list(zip(KEYS, VALUES, strict=True)))


def wraps(place):
    return sorted(
        count for (count,) in place.rows("SELECT count(*) FROM {data_key_wrap} GROUP BY tenant_id, data_key_id")
    )


def interrupt(done, total):
    raise InterruptedError


@both_stores
async def test_a_rolling_deployment(place):
    """One process after another gets the new secret, the keys are rotated, and the old secret is removed.

    Only a process that never got the new secret fails: when it makes a data key, and when it is opened again.
    """
    newcomers = [TokenKey(f"new{number}", "acme", TokenKind.API_KEY) for number in range(3)]
    async with place.vault(OLD) as old_only:
        await old_only.store_tokens(list(zip(KEYS, VALUES, strict=True)))
        async with place.vault(NEW, OLD) as both:
            # Step 1, half deployed: the new master key is known, and nothing else has changed.
            assert place.states() == ["active", "unwrap_only"]
            await both.store_token(newcomers[0], "by one that knows both")
            await old_only.store_token(newcomers[1], "by one that knows the old secret only")
            for vault in (old_only, both):
                assert await read_all(vault, [*newcomers[:2], *KEYS])
            status = await both.keys.status()
            assert status.master_key_rotation_due
            assert (status.wraps_missing, [key.data_keys for key in status.master_keys]) == (6, [6, 0])
            assert not (await old_only.keys.status()).master_key_rotation_due
        async with place.vault(NEW, OLD) as both, place.vault(NEW, OLD) as another:
            # Step 2: rotate, once. Vaults that were opened before continue with their older view of the keys.
            report = await both.with_actor("ops").keys.rotate_master_key()
            assert (report.activated, report.wrapped, report.unwrapped, report.retired) == (True, 6, 6, 1)
            assert not report.incomplete
            assert place.states() == ["retired", "active"]
            for vault in (another, both):
                assert await read_all(vault, KEYS) == VALUES
            await another.store_token(newcomers[2], "by one that was open before")
            assert wraps(place) == [1] * 7
            assert (await both.get_token(newcomers[2])).value.reveal() == "by one that was open before"
            events = [event async for event in both.iter_audit_events()]
            assert [(e.action, e.actor, e.tenant_id) for e in events if e.action.startswith("master_key")] == [
                (AuditAction.MASTER_KEY_INTRODUCED, None, None),
                (AuditAction.MASTER_KEY_ACTIVATED, "ops", None),
                (AuditAction.MASTER_KEY_RETIRED, "ops", None),
            ]
            assert report.master_key_id in [event.code for event in events]
        # A process with only the old secret reads with its cached data keys, and cannot make new ones.
        assert await read_all(old_only, KEYS) == VALUES
        with pytest.raises(KeyUnavailableError) as caught:
            await old_only.store_token(TokenKey("late", "acme", TokenKind.API_KEY), "value")
        assert caught.value.reason == "retired_master_key"
        with pytest.raises(KeyUnavailableError):
            await old_only.keys.rotate_data_key("t1")
        assert place.rows("SELECT count(*) FROM {data_key} WHERE tenant_id = 'late' OR state <> 'active'") == [(0,)]
    # Step 3: without the previous secret.
    async with place.vault(NEW) as new_only:
        assert await read_all(new_only, KEYS) == VALUES
        assert not (await new_only.keys.status()).master_key_rotation_due
    with pytest.raises(WrongEncryptionSecretError):
        async with place.vault(OLD):
            pass


async def test_it_tells_how_far_it_is(place):
    await fill(place)
    seen = []
    async with place.vault(NEW, OLD) as vault:
        tenants = len(wraps(place))
        await vault.keys.rotate_master_key(lambda done, total: seen.append((done, total)))
        assert seen[-1] == (2 * tenants, 2 * tenants)  # each data key gets a second wrap, then loses the first
        assert seen == sorted(seen)
        seen.clear()
        await vault.keys.rotate_master_key(progress=lambda done, total: seen.append((done, total)))
        assert seen == []


async def test_running_it_again_and_without_a_reason_changes_nothing(place):
    await fill(place)
    async with place.vault(OLD) as vault:
        report = await vault.keys.rotate_master_key()
        assert (report.activated, report.wrapped, report.unwrapped, report.retired) == (False, 0, 0, 0)
    async with place.vault(NEW, OLD) as vault:
        await vault.keys.rotate_master_key()
        before = place.rows("SELECT * FROM {data_key_wrap} ORDER BY 1, 2, 3")
        report = await vault.keys.rotate_master_key()
        assert (report.activated, report.wrapped, report.unwrapped, report.retired) == (False, 0, 0, 0)
        assert place.rows("SELECT * FROM {data_key_wrap} ORDER BY 1, 2, 3") == before


async def test_giving_up_before_the_flip_goes_back(place):
    await fill(place)
    async with place.vault(NEW, OLD) as vault:
        await vault.store_token(TokenKey("both", "acme", TokenKind.API_KEY), "value")
    async with place.vault(OLD, NEW) as vault:
        report = await vault.keys.rotate_master_key()
        assert (report.activated, report.unwrapped, report.retired) == (False, 0, 1)
        assert place.states() == ["active", "retired"]
        assert await read_all(vault, KEYS) == VALUES
    async with place.vault(OLD) as vault:
        assert await read_all(vault, KEYS) == VALUES


async def test_giving_up_after_the_flip_goes_back_too(place):
    await fill(place)
    async with place.vault(NEW, OLD) as vault:
        await vault.keys.rotate_master_key()
    # The old secret gets a new master key with a new salt, because a retired local key stays retired.
    async with place.vault(OLD, NEW) as vault:
        assert (await vault.keys.rotate_master_key()).retired == 1
        assert place.states() == ["retired", "retired", "active"]
    async with place.vault(OLD) as vault:
        assert await read_all(vault, KEYS) == VALUES


@both_stores
async def test_two_rotators_at_once(place):
    await fill(place)
    async with place.vault(NEW, OLD) as one, place.vault(NEW, OLD) as two:
        reports = await asyncio.gather(*(vault.keys.rotate_master_key() for vault in (one, two)))
        assert not any(report.incomplete for report in reports)
        assert sum(report.activated for report in reports) == sum(report.retired for report in reports) == 1
        assert sum(report.wrapped for report in reports) == sum(report.unwrapped for report in reports) == 4
        assert wraps(place) == [1] * 4
        assert place.states() == ["retired", "active"]
        await asyncio.gather(*(vault.keys.rotate_data_key("t1") for vault in (one, two)))
        runs = await asyncio.gather(*(vault.keys.reencrypt() for vault in (one, two)))
        assert sum(run.reencrypted for run in runs) == 1
        assert await read_all(two, KEYS) == VALUES


@both_stores
async def test_tenants_that_are_made_at_the_same_moment(place):
    """A process that makes a data key during the retirement is either first or refused, and nothing is lost."""
    keys = [TokenKey(f"n{number:02d}", "acme", TokenKind.API_KEY) for number in range(40)]
    async with place.vault(OLD) as old_only, place.vault(NEW, OLD) as both, place.vault(NEW, OLD) as rotator:
        await old_only.store_token(KEYS[0], "value")

        async def make(number, key):
            await asyncio.sleep(number * 0.001)
            await (old_only if number % 2 else both).store_token(key, "value")

        makers = [make(number, key) for number, key in enumerate(keys)]
        report, *outcomes = await asyncio.gather(rotator.keys.rotate_master_key(), *makers, return_exceptions=True)
        while report.incomplete:
            report = await rotator.keys.rotate_master_key()
    refused = {key for key, outcome in zip(keys, outcomes, strict=True) if outcome is not None}
    reasons = {outcome.reason for outcome in outcomes if outcome is not None}
    # unknown_master_key: the rotator rewrapped the new data key before its maker read it back.
    assert reasons <= {"retired_master_key", "unknown_master_key"}
    assert {key.tenant_id for key in refused} <= {key.tenant_id for key in keys[1::2]}
    assert place.states() == ["retired", "active"]
    async with place.vault(NEW) as vault:
        for key in keys:
            token = await vault.get_token(key)
            assert (token is None) is (key in refused)
    assert wraps(place) == [1] * place.rows("SELECT count(*) FROM {data_key}")[0][0]


@both_stores
async def test_a_process_that_was_overtaken_does_not_flip_back(place):
    await fill(place)
    async with place.vault(NEW, OLD) as stale:
        await stale.keys.rotate_master_key()
        async with place.vault(NEWEST, NEW) as vault:
            await vault.keys.rotate_master_key()
        with pytest.raises(ConfigurationError) as caught:
            await stale.keys.rotate_master_key()
        assert caught.value.code == "master_key_conflict"
        assert place.states() == ["retired", "retired", "active"]
    async with place.vault(NEWEST) as vault:
        assert await read_all(vault, KEYS) == VALUES


@both_stores
async def test_a_process_that_was_overtaken_halfway_does_not_flip_back(place):
    """The other rotation has activated its master key, but has not retired the previous one yet."""
    await fill(place)
    async with place.vault(NEW, OLD) as stale:
        await stale.keys.rotate_master_key()
        async with place.vault(NEWEST, NEW):  # opening the vault introduces the newest master key
            pass
        place.rows("UPDATE {master_key} SET state = 'unwrap_only' WHERE state = 'active'")
        newest = "SELECT max(created_at) FROM {master_key}"
        place.rows(f"UPDATE {{master_key}} SET state = 'active' WHERE created_at = ({newest})")
        with pytest.raises(ConfigurationError) as caught:
            await stale.keys.rotate_master_key()
        assert caught.value.code == "master_key_conflict"
        assert place.states() == ["retired", "unwrap_only", "active"]


async def test_a_master_key_in_use_is_not_retired(place):
    """The store itself refuses to retire the active master key, or one that still wraps data keys."""
    await fill(place)
    async with place.vault(NEW, OLD) as vault:
        port = vault._services.rewrapping._keys
        old, new = (
            bytes(key_id) for (key_id,) in place.rows("SELECT master_key_id FROM {master_key} ORDER BY created_at")
        )
        await retire(port, old)
        assert place.states() == ["active", "unwrap_only"]
        await activate(port, new, old)
        for key_id in (old, new):
            await retire(port, key_id)
        assert place.states() == ["unwrap_only", "active"]
        assert (await vault.keys.rotate_master_key()).retired == 1


async def test_a_key_kept_offline_is_left_alone(place):
    """A master key that no process opens, such as one for recovery, keeps its wraps through rotations."""
    await fill(place)
    async with place.vault(NEWEST, OLD):
        [(offline,)] = place.rows("SELECT master_key_id FROM {master_key} WHERE state = 'unwrap_only'")
    copied = "SELECT tenant_id, data_key_id, ?, wrapped FROM {data_key_wrap} WHERE tenant_id = 't0'"
    place.rows(f"INSERT INTO {{data_key_wrap}} (tenant_id, data_key_id, master_key_id, wrapped) {copied}", offline)
    async with place.vault(NEW, OLD) as vault:
        report = await vault.keys.rotate_master_key()
        assert (report.incomplete, report.retired) == (False, 1)
    assert place.states() == ["retired", "unwrap_only", "active"]
    assert wraps(place) == [1, 1, 1, 2]


async def test_a_data_key_that_does_not_open_keeps_its_wrap_and_the_old_key(place):
    await fill(place)
    swapped = "(SELECT wrapped FROM {data_key_wrap} WHERE tenant_id = 't1')"
    place.rows(f"UPDATE {{data_key_wrap}} SET wrapped = {swapped} WHERE tenant_id = 't2'")
    async with place.vault(NEW, OLD) as vault:
        report = await vault.keys.rotate_master_key()
        assert (report.incomplete, report.in_use, report.wrapped, report.unwrapped, report.retired) == (
            True,
            1,
            3,
            0,
            0,
        )
        [named] = report.unreadable
        assert (named.tenant_id, named.count) == ("t2", 1)
        assert place.states() == ["unwrap_only", "active"]
        assert await read_all(vault, KEYS[:2]) == VALUES[:2]
        await vault.erase_tenant("t2")
        assert not (await vault.keys.rotate_master_key()).incomplete


@pytest.mark.parametrize("under", ["old", "new"])
async def test_no_wrap_goes_before_the_other_was_read_back(place, under):
    """A new wrap that was damaged in the database must not be the only one that is left."""
    await fill(place)
    async with place.vault(NEW, OLD) as vault:
        with pytest.raises(InterruptedError):
            await vault.keys.rotate_master_key(interrupt)  # wrapped under both
    assert wraps(place) == [2] * 4
    state = {"old": "unwrap_only", "new": "active"}[under]
    [(master,)] = place.rows("SELECT master_key_id FROM {master_key} WHERE state = ?", state)
    active = "SELECT data_key_id FROM {data_key} WHERE state = 'active' AND tenant_id = ?"
    one, two = (place.rows(active, tenant)[0][0] for tenant in ("t1", "t2"))
    [(foreign,)] = place.rows(
        "SELECT wrapped FROM {data_key_wrap} WHERE master_key_id = ? AND data_key_id = ?", master, one
    )
    place.rows(
        "UPDATE {data_key_wrap} SET wrapped = ? WHERE master_key_id = ? AND data_key_id = ?", foreign, master, two
    )
    async with place.vault(NEW, OLD) as vault:
        report = await vault.keys.rotate_master_key()
        assert report.incomplete
        assert [key.tenant_id for key in report.unreadable] == ["t2"]
        assert place.rows("SELECT count(*) FROM {data_key_wrap} WHERE data_key_id = ?", two) == [(2,)]
        status = await vault.keys.status()
        assert [key.state for key in status.master_keys] == [MasterKeyState.UNWRAP_ONLY, MasterKeyState.ACTIVE]


async def test_to_a_key_service_and_back(place, monkeypatch):
    from moto.server import ThreadedMotoServer
    from tests.adapters.crypto.kms_service import REGION, client_for, new_key

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    values = {"AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": REGION}
    for name, value in {**values, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(name, value)
    try:
        client = client_for(endpoint)
        uri = f"aws-kms:{new_key(client)}"
        client.close()
        await fill(place)
        async with place.vault(OLD, master_key=uri, previous_master_key="local") as vault:
            assert (await vault.keys.rotate_master_key()).retired == 1
            assert await read_all(vault, KEYS) == VALUES
        async with place.vault(None, master_key=uri) as vault:
            assert await read_all(vault, KEYS) == VALUES
            await vault.store_token(TokenKey("kms", "acme", TokenKind.API_KEY), "value")
        async with place.vault(NEW, master_key="local", previous_master_key=uri) as vault:
            assert (await vault.keys.rotate_master_key()).retired == 1
        async with place.vault(NEW) as vault:
            assert await read_all(vault, KEYS) == VALUES
    finally:
        server.stop()
