"""Changes of keys at the same moment: nobody wraps under a master key that changes, and what is destroyed stays so."""

import asyncio

import pytest
from attrs import evolve
from tests.adapters.postgres.samples import MASTER_KEY, SCHEMA, data_key, prepare

from vault_adapters.testing.contract.master_keys import activate, introduce, replace, retire
from vault_domain.entities.errors import KeyUnavailableError
from vault_domain.entities.key_records import DataKeyState
from vault_domain.ports.keys import DataKeyQuery
from vault_domain.transitions.keys import emptied

NEXT = evolve(MASTER_KEY, key_id=b"n" * 16)
ALIEN = f"INSERT INTO {SCHEMA}.data_key_wrap (tenant_id, data_key_id, master_key_id, wrapped) VALUES (%s, %s, %s, %s)"


async def test_a_retirement_waits_for_a_wrap_that_is_being_stored_and_sees_it(store, raw):
    await prepare(store)
    await introduce(store.keys, NEXT, {MASTER_KEY.key_id})
    async with raw.transaction():
        await raw.execute(f"SELECT FROM {SCHEMA}.master_key WHERE master_key_id = %s FOR SHARE", [NEXT.key_id])
        retiring = asyncio.create_task(retire(store.keys, NEXT.key_id))
        await asyncio.sleep(0.2)
        assert not retiring.done()
        await raw.execute(ALIEN, ["acme", b"d" * 16, NEXT.key_id, b"wrapped"])
    assert tuple((await retiring).events) == ()


@pytest.mark.parametrize("creates", [True, False])
async def test_a_new_data_key_waits_for_whoever_replaces_its_master_key_and_is_refused(store, raw, creates):
    await prepare(store)
    new = data_key("other" if creates else "acme", b"e" * 16)
    async with raw.transaction():
        await raw.execute(f"UPDATE {SCHEMA}.master_key SET state = 'unwrap_only'")
        storing = store.keys.create_data_key(new) if creates else replace(store.keys, b"d" * 16, new)
        waiting = asyncio.create_task(storing)
        await asyncio.sleep(0.2)
        assert not waiting.done()
    with pytest.raises(KeyUnavailableError):
        await waiting
    assert await store.keys.data_key(new.tenant_id, new.key_id) is None
    assert (await store.keys.data_key("acme", None)) == data_key()


async def test_data_keys_and_changes_of_master_keys_do_not_wait_for_each_other_in_a_circle(store):
    await prepare(store)
    await introduce(store.keys, NEXT, {MASTER_KEY.key_id})
    active, other = MASTER_KEY, NEXT
    for turn in range(20):
        records = [data_key(f"tenant-{turn}-{number}", bytes([turn, number] * 8)) for number in range(8)]
        records = [evolve(each, wraps=(evolve(each.wraps[0], master_key_id=active.key_id),)) for each in records]
        *stored, _ = await asyncio.gather(
            *map(store.keys.create_data_key, records),
            activate(store.keys, other.key_id, active.key_id),
            return_exceptions=True,
        )
        assert {type(each) for each in stored} <= {type(records[0]), KeyUnavailableError}
        active, other = other, active


async def test_a_data_key_that_is_destroyed_meanwhile_stays_destroyed(store, raw):
    await prepare(store)
    await replace(store.keys, b"d" * 16, data_key(key_id=b"e" * 16))
    async with raw.transaction():
        await raw.execute(f"UPDATE {SCHEMA}.data_key SET state = 'destroyed' WHERE data_key_id = %s", [b"d" * 16])
        to_empty = DataKeyQuery(state=DataKeyState.DECRYPT_ONLY, is_emptied=False)
        changing = asyncio.create_task(store.keys.change_data_keys(to_empty, emptied))
        await asyncio.sleep(0.2)
        assert not changing.done()
    assert (await changing).result == 0
    record = await store.keys.data_key("acme", b"d" * 16)
    assert (record.state, record.emptied_at) == (DataKeyState.DESTROYED, None)


async def test_a_rotation_that_an_erasure_overtakes_stores_nothing(store, raw):
    await prepare(store)
    async with raw.transaction():
        await raw.execute(f"UPDATE {SCHEMA}.data_key SET state = 'destroyed'")
        rotating = replace(store.keys, b"d" * 16, data_key(key_id=b"e" * 16))
        waiting = asyncio.create_task(rotating)
        await asyncio.sleep(0.2)
        assert not waiting.done()
    change = await waiting
    assert (change.result.state, tuple(change.events)) == (DataKeyState.DESTROYED, ())
    assert await store.keys.data_key("acme", b"e" * 16) is None
    assert (await store.keys.data_key("acme", b"d" * 16)).state is DataKeyState.DESTROYED
    assert await store.audit.page(None, limit=9, after=None) == []
