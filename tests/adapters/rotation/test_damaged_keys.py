"""Damaged data keys stay as they are, and a rotation goes on past them."""

from datetime import timedelta

import pytest
from tests.adapters.rotation.place import NEW, OLD, read_all
from tests.support.databases import both_stores
from tests.support.loose_sqlite import loosen_sqlite

from vault_adapters import TokenKey, TokenKind
from vault_adapters.testing import ManualClock

KEYS = [TokenKey(f"t{number}", "acme", TokenKind.API_KEY) for number in range(5)]


def loosen(place):
    """Remove the constraints of data keys, and on SQLite the types too, as a dump that was edited by hand may."""
    if place.is_sqlite:
        loosen_sqlite(place.url.removeprefix("sqlite:///"))
        return
    for table, name in (
        ("data_key", "data_key_data_key_id_check"),
        ("data_key", "data_key_state_check"),
        ("data_key_wrap", "data_key_wrap_tenant_id_data_key_id_fkey"),
    ):
        place.rows(f"ALTER TABLE {{{table}}} DROP CONSTRAINT {name}")


@both_stores
async def test_a_page_of_damaged_data_keys_does_not_end_the_rotation_of_the_master_key(place, monkeypatch):
    monkeypatch.setattr("vault_domain.services.keys.master_keys._PAGE", 2)
    async with place.vault() as vault:
        await vault.store_tokens([(key, "value") for key in KEYS])
    loosen(place)
    place.rows("UPDATE {data_key} SET state = 'odd' WHERE tenant_id IN ('t0', 't1', 't3')")
    async with place.vault(NEW, OLD) as vault:
        report = await vault.keys.rotate_master_key()
        assert (report.wrapped, report.unwrapped, report.in_use) == (2, 2, 1)
        wrapped = "SELECT w.tenant_id FROM {data_key_wrap} w JOIN {master_key} m USING (master_key_id)"
        assert sorted(place.rows(f"{wrapped} WHERE m.state = 'active'")) == [("t2",), ("t4",)]
        assert await read_all(vault, KEYS[2:5:2]) == ["value"] * 2


@pytest.mark.parametrize("damaged", ["text", b"17 bytes are many", b"short", 5])
async def test_a_damaged_data_key_is_not_destroyed_and_the_others_are(place, damaged, monkeypatch):
    """Nobody knows which tokens need the damaged data key, because tokens still name the id that it had before."""
    monkeypatch.setattr("vault_adapters.stores.sqlite.keys.CHANGED_AT_ONCE", 1)
    clock = ManualClock()
    async with place.vault(clock=clock) as vault:
        await vault.store_tokens([(key, "value") for key in KEYS])
        await vault.keys.rotate_data_keys()
        loosen(place)
    old = "WHERE tenant_id = 't1' AND state = 'decrypt_only'"
    [(key_id,)] = place.rows(f"SELECT data_key_id FROM {{data_key}} {old}")
    place.rows(f"UPDATE {{data_key}} SET data_key_id = ? {old}", damaged)
    async with place.vault(clock=clock) as vault:
        await vault.keys.reencrypt()
        clock.advance(timedelta(days=1))
        assert (await vault.keys.reencrypt()).destroyed == 4
        place.rows(f"UPDATE {{data_key}} SET data_key_id = ? {old}", key_id)
        assert await read_all(vault, KEYS) == ["value"] * 5
