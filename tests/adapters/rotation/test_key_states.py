"""An attacker who writes to the database, and has an old backup and an old secret, sets states of keys back."""

import sqlite3
from datetime import timedelta

import psycopg
import pytest
from tests.adapters.rotation.place import NEW, OLD, read_all
from tests.support.databases import both_stores

from vault_adapters import (
    AuditAction,
    ConfigurationError,
    DecryptionError,
    KeyUnavailableError,
    TokenKey,
    TokenKind,
    open_vault,
)
from vault_adapters.testing import ManualClock
from vault_domain.entities.audit import LASTING_ACTIONS

KEY = TokenKey("t1", "acme", TokenKind.API_KEY)
NEXT = TokenKey("t1", "acme", TokenKind.WEBHOOK_SECRET)
OTHER = TokenKey("t2", "acme", TokenKind.API_KEY)
ELSEWHERE = TokenKey("t3", "acme", TokenKind.API_KEY)
DAY = timedelta(days=1)
WRAP = "INSERT INTO {data_key_wrap} (tenant_id, data_key_id, master_key_id, wrapped) VALUES (?, ?, ?, ?)"


def wraps_of(place, tenant_id="t1"):
    """Return a tenant's wraps, as a backup has them."""
    rows = place.rows(
        "SELECT tenant_id, data_key_id, master_key_id, wrapped FROM {data_key_wrap} WHERE tenant_id = ?", tenant_id
    )
    return [tuple(bytes(cell) if isinstance(cell, memoryview) else cell for cell in row) for row in rows]


def set_back(place, wraps, state):
    """Bring data keys back from a backup, in a state of the attacker's choice."""
    for tenant_id, data_key_id, master_key_id, wrapped in wraps:
        place.rows(f"DELETE FROM {{data_key_wrap}} WHERE data_key_id = {literal(place, data_key_id)}")
        place.rows(WRAP, tenant_id, data_key_id, master_key_id, wrapped)
        if state == "active":
            place.rows(
                "UPDATE {data_key} SET state = 'decrypt_only' WHERE state = 'active' AND tenant_id = ?", tenant_id
            )
        place.rows("UPDATE {data_key} SET state = ? WHERE data_key_id = ?", state, data_key_id)


def literal(place, value):
    return f"x'{value.hex()}'" if place.is_sqlite else f"'\\x{value.hex()}'"


def used(place):
    """Return the ids of the data keys that encrypt tokens."""
    return {bytes(key_id) for (key_id,) in place.rows("SELECT data_key_id FROM {token}")}


def wrapped_by(place, tenant_id):
    """Return the states of the master keys that wrap a tenant's data keys."""
    return place.rows(
        "SELECT m.state FROM {data_key_wrap} w JOIN {master_key} m USING (master_key_id) WHERE w.tenant_id = ?",
        tenant_id,
    )


async def destroy_by_rotation(vault, clock):
    await vault.keys.rotate_data_key("t1")
    await vault.keys.reencrypt()
    clock.advance(DAY)
    assert (await vault.keys.reencrypt()).destroyed == 1


async def destroy_by_erasure(vault, clock):
    await vault.erase_tenant("t1")


async def destroy_by_rotation_and_then_erase(vault, clock):
    await destroy_by_rotation(vault, clock)
    await vault.erase_tenant("t1")


@pytest.mark.parametrize("state", ["active", "decrypt_only"])
@pytest.mark.parametrize("destroy", [destroy_by_rotation, destroy_by_erasure, destroy_by_rotation_and_then_erase])
async def test_a_destroyed_data_key_that_is_back_neither_opens_nor_seals(place, destroy, state, caplog):
    clock, seen = ManualClock(), []
    async with place.vault(clock=clock) as vault:
        await vault.store_token(KEY, "old")
        wraps = wraps_of(place)
        place.rows("CREATE TABLE kept AS SELECT * FROM {token}")
        await destroy(vault, clock)
    set_back(place, wraps, state)
    place.rows("DELETE FROM {token}")
    place.rows("INSERT INTO {token} SELECT * FROM kept")
    place.rows("DROP TABLE kept")
    caplog.clear()
    async with open_vault(place.config(), clock=clock, on_event=seen.append) as vault:
        with pytest.raises(DecryptionError):
            await vault.get_token(KEY)
        assert [(event.action, event.code) for event in seen] == [("decryption_failed", "resurrected_key")]
        assert "resurrected_key" in caplog.text
        caplog.clear()
        if state == "active":
            for call in vault.store_token(NEXT, "new"), vault.store_tokens([(NEXT, "new"), (OTHER, "other")]):
                with pytest.raises(DecryptionError):
                    await call
            assert "resurrected_key" in caplog.text
        else:
            await vault.store_token(NEXT, "new")
            assert await read_all(vault, [NEXT]) == ["new"]
        resurrected = wraps[0][1]
        assert place.rows("SELECT kind FROM {token} WHERE data_key_id = ? AND kind <> 'api_key'", resurrected) == []
        assert (await vault.keys.status()).resurrected == 1
        assert (await vault.keys.status(tenant_id="t1")).resurrected == 1
        assert (await vault.keys.status(tenant_id="t2")).resurrected == 0


@both_stores
async def test_a_replaced_data_key_that_is_active_again_does_not_seal(place, caplog):
    async with place.vault() as vault:
        await vault.store_token(KEY, "old")
        wraps = wraps_of(place)
        await vault.keys.rotate_data_key("t1")
    set_back(place, wraps, "active")
    async with place.vault() as vault:
        with pytest.raises(DecryptionError):
            await vault.store_token(NEXT, "new")
        assert "resurrected_key" in caplog.text
        assert (await vault.keys.status()).resurrected == 1
        assert await read_all(vault, [KEY]) == ["old"]  # the old data key still opens its values
        # A new data key ends the refusals.
        assert (await vault.keys.rotate_data_key("t1")).rotated
        await vault.store_token(NEXT, "new")
        assert wraps[0][1] not in {
            bytes(key_id) for (key_id,) in place.rows("SELECT data_key_id FROM {token} WHERE kind = 'webhook_secret'")
        }
        assert (await vault.keys.status()).resurrected == 0
        await vault.keys.reencrypt()
        assert wraps[0][1] not in used(place)
        assert await read_all(vault, [KEY, NEXT]) == ["old", "new"]


async def test_a_refusal_to_seal_has_an_event(place):
    seen = []
    async with place.vault() as vault:
        await vault.store_token(KEY, "old")
        wraps = wraps_of(place)
        await vault.keys.rotate_data_key("t1")
    set_back(place, wraps, "active")
    async with open_vault(place.config(), on_event=seen.append) as vault:
        with pytest.raises(DecryptionError):
            await vault.store_token(NEXT, "new")
    assert [(event.action, event.tenant_id, event.code) for event in seen] == [
        ("decryption_failed", "t1", "resurrected_key")
    ]


async def test_a_key_that_is_set_back_while_processes_run_does_not_seal(place):
    async with place.vault() as vault:
        await vault.store_token(KEY, "old")
        wraps = wraps_of(place)
        await vault.keys.rotate_data_key("t1")
        await vault.store_token(KEY, "newer")
        set_back(place, wraps, "active")
        with pytest.raises(DecryptionError):
            await vault.store_token(NEXT, "new")
        assert wraps[0][1] not in used(place)


async def fill(place):
    async with place.vault(OLD) as vault:
        await vault.store_token(KEY, "old")


async def rotate_master(place):
    async with place.vault(NEW, OLD) as vault:
        assert (await vault.keys.rotate_master_key()).retired == 1
    [[retired]] = place.rows("SELECT master_key_id FROM {master_key} WHERE state = 'retired'")
    return bytes(retired)


async def test_a_retired_master_key_that_is_live_again_wraps_nothing(place, caplog):
    await fill(place)
    async with place.vault(NEW, OLD) as before:
        retired = await rotate_master(place)
        async with place.vault(NEW, OLD) as vault:
            place.rows("UPDATE {master_key} SET state = 'unwrap_only' WHERE master_key_id = ?", retired)
            for number, process in enumerate((before, vault)):
                await process.store_token(TokenKey(f"running{number}", "acme", TokenKind.API_KEY), "value")
                assert wrapped_by(place, f"running{number}") == [("active",)]
    caplog.clear()
    async with place.vault(NEW, OLD) as vault:
        assert "resurrected_master_key" in caplog.text
        await vault.store_token(OTHER, "other")
        assert wrapped_by(place, "t2") == [("active",)]
        await vault.keys.rotate_data_keys()
        assert set(place.rows("SELECT m.state FROM {data_key_wrap} JOIN {master_key} m USING (master_key_id)")) == {
            ("active",)
        }
        status = await vault.keys.status()
        assert [key.is_open for key in status.master_keys if key.is_resurrected] == [False]
        assert await read_all(vault, [KEY, OTHER]) == ["old", "other"]
        # Rotating the master key retires it again.
        assert (await vault.keys.rotate_master_key()).retired == 1
        assert sorted(place.states()) == ["active", "retired"]


@both_stores
async def test_a_retired_master_key_that_is_active_again_is_refused(place, caplog):
    await fill(place)
    async with place.vault(NEW, OLD) as before, place.vault(NEW, OLD) as vault:
        await vault.store_token(OTHER, "other")
        retired = await rotate_master(place)
        await vault.keys.rotate_data_key("t2")
        place.rows("UPDATE {master_key} SET state = 'unwrap_only' WHERE state = 'active'")
        place.rows("UPDATE {master_key} SET state = 'active' WHERE master_key_id = ?", retired)
        for process in before, vault:  # `before` has made no data key since the rotation
            for call in process.store_token(ELSEWHERE, "v"), process.keys.rotate_data_key("t1"):
                with pytest.raises(KeyUnavailableError):
                    await call
        assert wrapped_by(place, "t3") == []
        assert (await vault.health()).master_key_error == "key_unavailable"
        assert "resurrected_master_key" in caplog.text
    for secrets in (NEW, OLD), (OLD, None), (OLD, NEW):
        with pytest.raises(ConfigurationError) as caught:
            async with place.vault(*secrets):
                pass
        assert caught.value.code == "resurrected_master_key"
    assert len(place.states()) == 2  # no master key was introduced


async def test_a_replaced_master_key_that_is_active_again_is_refused(place):
    """The replaced master key is not retired yet, because the wrap of a data key is damaged."""
    async with place.vault(OLD) as vault:
        await vault.store_token(KEY, "old")
        place.rows("UPDATE {data_key_wrap} SET wrapped = ?", bytes(93))
    async with place.vault(NEW, OLD) as vault:
        assert (await vault.keys.rotate_master_key()).incomplete
        assert place.states() == ["unwrap_only", "active"]
        place.rows("UPDATE {master_key} SET state = 'retired' WHERE state = 'active'")
        place.rows("UPDATE {master_key} SET state = 'active' WHERE state = 'unwrap_only'")
        place.rows("UPDATE {master_key} SET state = 'unwrap_only' WHERE state = 'retired'")
        with pytest.raises(KeyUnavailableError):
            await vault.store_token(OTHER, "other")
    with pytest.raises(ConfigurationError) as caught:
        async with place.vault(NEW, OLD):
            pass
    assert caught.value.code == "resurrected_master_key"


@pytest.mark.parametrize("state", ["retired", "unwrap_only"])
async def test_a_wrap_made_under_a_retired_master_key_is_not_unwrapped(place, state):
    """A process opened the vault before the retirement; somebody with the old secret wraps a data key of their own."""
    await fill(place)
    async with place.vault(NEW, OLD) as vault:
        assert (await vault.keys.rotate_master_key()).retired == 1
        [[retired]] = place.rows("SELECT master_key_id FROM {master_key} WHERE state = 'retired'")
        [(tenant_id, data_key_id, _, _)] = wraps_of(place)
        keyring = vault._services.cipher._keyring
        theirs = await keyring._master_keys.opened[bytes(retired)].wrap(bytes(32), tenant_id, data_key_id)
        place.rows("DELETE FROM {data_key_wrap}")
        place.rows(WRAP, tenant_id, data_key_id, bytes(retired), theirs)
        place.rows("UPDATE {master_key} SET state = ? WHERE state = 'retired'", state)
        keyring.forget_tenant(tenant_id)
        with pytest.raises(DecryptionError):
            await vault.store_token(NEXT, "new")
        with pytest.raises(DecryptionError):
            await vault.get_token(KEY)
        # A rotation does not wrap this data key again either.
        assert (await vault.keys.rotate_master_key()).incomplete
        assert wraps_of(place) == [(tenant_id, data_key_id, bytes(retired), theirs)]


def refusal(place, statement):
    """Return the text with which the database refuses a statement, or None."""
    try:
        place.rows(statement)
    except (psycopg.Error, sqlite3.Error) as error:
        return str(error)
    return None


@pytest.mark.parametrize("change", ["UPDATE {audit_event} SET action = 'token_stored'", "DELETE FROM {audit_event}"])
@both_stores
async def test_an_event_that_must_last_is_neither_changed_nor_deleted(place, change):
    async with place.vault() as vault:
        await vault.store_token(KEY, "old")
    for code, action in enumerate(sorted(LASTING_ACTIONS)):
        copy = f"SELECT tenant_id, '{action.value}', occurred_at, 'k{code}' FROM {{audit_event}} LIMIT 1"
        place.rows(f"INSERT INTO {{audit_event}} (tenant_id, action, occurred_at, code) {copy}")
        refused = refusal(place, f"{change} WHERE action = '{action.value}'")
        if action is AuditAction.DATA_KEY_REPLACED:
            assert refused is None  # an erasure may meet such an event, and must not fail
        else:
            assert "an event that confirms the state of a key" in refused, action
        assert place.rows(f"SELECT code FROM {{audit_event}} WHERE action = '{action.value}'") == [(f"k{code}",)], (
            action
        )


@both_stores
async def test_an_erasure_does_not_fail_over_a_log_that_lacks_an_event(place):
    async with place.vault() as vault:
        await vault.store_token(KEY, "old")
        copy = "SELECT tenant_id, 'data_key_replaced', occurred_at, 'ab' FROM {audit_event} LIMIT 1"
        place.rows(f"INSERT INTO {{audit_event}} (tenant_id, action, occurred_at, code) {copy}")
        await vault.keys.rotate_data_key("t1")
        await vault.erase_tenant("t1")
        found = place.rows("SELECT code FROM {audit_event} WHERE action = 'data_key_replaced' AND tenant_id = 't1'")
        assert found == [("ab",)]
