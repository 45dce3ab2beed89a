"""The tables of master keys and data keys, without any token: the first cases that a new store passes."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ContractFixtures
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import KeyUnavailableError
from vault_domain.entities.key_records import (
    DataKeyRecord,
    DataKeyState,
    DataKeyWrap,
    MasterKeyRecord,
    MasterKeyState,
)
from vault_domain.ports.key_rotation import KeyCounts, PlacedWrap


def master_key(number: int) -> MasterKeyRecord:
    """Return the record of a made-up master key."""
    key_id = bytes([number]) * 16
    return MasterKeyRecord(key_id, "local", uri=f"uri-{number}", kdf='{"n": 1}', check_value=b"\0\xff" * 16)


def data_key(number: int, *wrapped_by: MasterKeyRecord, tenant_id: str = "t1") -> DataKeyRecord:
    """Return the record of a made-up data key."""
    wraps = [DataKeyWrap(record.key_id, bytes([number]) + b"\0wrapped") for record in wrapped_by]
    return DataKeyRecord(tenant_id, bytes([number]) * 16, DataKeyState.ACTIVE, tuple(wraps))


async def _events(store: Store) -> list[AuditAction]:
    return [event.action for event in await store.audit.page(None, limit=100, after=None)]


async def _introduce(store: Store, *records: MasterKeyRecord) -> None:
    """Introduce master keys; the first one becomes active."""
    known: set[bytes] = set()
    for record in records:
        if known:
            await store.keys.introduce_master_key(record, known)
        else:
            await store.keys.introduce_first_master_key(record)
        known.add(record.key_id)


class KeyTableCases(ContractFixtures):
    """`KeyRepository`, and retiring master keys by `KeyRotationRepository`."""

    async def test_an_empty_database_has_no_keys(self, store: Store) -> None:
        assert await store.keys.master_keys() == []
        assert await store.keys.active_data_key("t1") is None
        assert await store.keys.data_key("t1", bytes(16)) is None
        assert await store.key_rotation.key_counts() == KeyCounts({}, 0, 0, 0, 0)
        assert await _events(store) == []

    async def test_the_first_master_key_is_stored_as_active(self, store: Store, clock: ManualClock) -> None:
        record = evolve(master_key(1), state=MasterKeyState.RETIRED)
        expected = evolve(record, state=MasterKeyState.ACTIVE, created_at=clock.now())
        assert await store.keys.introduce_first_master_key(record) == [expected]
        assert await store.keys.master_keys() == [expected]
        assert await _events(store) == []

    async def test_of_several_first_master_keys_one_wins(self, store: Store) -> None:
        records = [master_key(number) for number in range(1, 9)]
        results = await asyncio.gather(*map(store.keys.introduce_first_master_key, records))
        assert all(result == results[0] for result in results)
        assert len(results[0]) == 1

    async def test_a_further_master_key_only_unwraps(self, store: Store, clock: ManualClock) -> None:
        first, second = master_key(1), master_key(2)
        [active] = await store.keys.introduce_first_master_key(first)
        clock.set(clock.now())
        found = await store.keys.introduce_master_key(second, {first.key_id})
        expected = evolve(second, state=MasterKeyState.UNWRAP_ONLY, created_at=clock.now())
        assert sorted(found, key=lambda record: record.key_id) == [active, expected]
        [event] = await store.audit.page(None, limit=100, after=None)
        assert (event.action, event.code) == (AuditAction.MASTER_KEY_INTRODUCED, second.key_id.hex())
        assert (event.tenant_id, event.occurred_at) == (None, clock.now())

    async def test_of_several_further_master_keys_one_wins(self, store: Store) -> None:
        await _introduce(store, master_key(1))
        known = {master_key(1).key_id}
        others = [master_key(number) for number in range(2, 10)]
        results = await asyncio.gather(*(store.keys.introduce_master_key(record, known) for record in others))
        assert {len(result) for result in results} == {2}
        assert await _events(store) == [AuditAction.MASTER_KEY_INTRODUCED]

    async def test_a_retired_master_key_may_be_introduced_again(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        await _introduce(store, one, two)
        assert (await store.key_rotation.retire_master_key(two.key_id, actor="me")).result is True
        again = await store.key_rotation.retire_master_key(two.key_id, actor="me")
        assert (again.result, tuple(again.events)) == (True, ())
        assert (await store.key_rotation.retire_master_key(one.key_id, actor="me")).result is False
        assert (await store.key_rotation.retire_master_key(bytes(16), actor="me")).result is False
        states = {record.key_id: record.state for record in await store.keys.master_keys()}
        assert states == {one.key_id: MasterKeyState.ACTIVE, two.key_id: MasterKeyState.RETIRED}
        await store.keys.introduce_master_key(two, {one.key_id, two.key_id})
        states = {record.key_id: record.state for record in await store.keys.master_keys()}
        assert states == {one.key_id: MasterKeyState.ACTIVE, two.key_id: MasterKeyState.UNWRAP_ONLY}
        assert await _events(store) == [
            AuditAction.MASTER_KEY_INTRODUCED,
            AuditAction.MASTER_KEY_RETIRED,
            AuditAction.MASTER_KEY_INTRODUCED,
        ]

    async def test_a_data_key_is_returned_with_all_its_wraps(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        await _introduce(store, one, two)
        record = data_key(1, one, two)
        for found in (
            await store.keys.create_data_key(record),
            await store.keys.active_data_key("t1"),
            await store.keys.data_key("t1", record.key_id),
        ):
            assert found is not None
            assert sorted(found.wraps, key=lambda wrap: wrap.master_key_id) == list(record.wraps)
            assert evolve(found, wraps=record.wraps) == record
        assert await store.keys.data_key("t2", record.key_id) is None
        assert await store.keys.active_data_key("t2") is None
        assert await store.key_rotation.key_counts() == KeyCounts({one.key_id: 1, two.key_id: 1}, 1, 0, 0, 0)
        assert await store.key_rotation.key_counts("t2") == KeyCounts({}, 0, 0, 0, 0)

    async def test_of_several_first_data_keys_one_wins(self, store: Store) -> None:
        await _introduce(store, master_key(1))
        records = [data_key(number, master_key(1)) for number in range(1, 9)]
        found = await asyncio.gather(*map(store.keys.create_data_key, records))
        assert all(each == found[0] for each in found)
        kept = [record for record in records if await store.keys.data_key("t1", record.key_id)]
        assert [record.key_id for record in kept] == [found[0].key_id]

    async def test_wraps_under_a_retired_master_key_are_left_out(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        await _introduce(store, one, two)
        await store.key_rotation.retire_master_key(two.key_id, actor=None)
        stored = await store.keys.create_data_key(data_key(1, one, two))
        assert [wrap.master_key_id for wrap in stored.wraps] == [one.key_id]
        with pytest.raises(KeyUnavailableError) as caught:
            await store.keys.create_data_key(data_key(2, two, tenant_id="t2"))
        assert caught.value.reason == "retired_master_key"
        with pytest.raises(KeyUnavailableError):
            await store.key_rotation.replace_active_data_key(stored.key_id, data_key(3, two), actor=None)
        assert await store.keys.active_data_key("t1") == stored
        assert await store.keys.active_data_key("t2") is None
        late = PlacedWrap("t1", stored.key_id, DataKeyWrap(two.key_id, b"late"))
        assert await store.key_rotation.add_wraps([late]) == 0
        assert await store.keys.active_data_key("t1") == stored

    async def test_pages_of_data_keys_are_sorted_by_tenant_and_id(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        await _introduce(store, one, two)
        tenants = ["b", "B", "a", "\u00e9", "ab"]
        for number, tenant_id in enumerate(tenants):
            await store.keys.create_data_key(data_key(number, one, tenant_id=tenant_id))
        pages = [
            partial(store.key_rotation.data_keys_with_wrap, one.key_id),
            partial(store.key_rotation.data_keys_without_wrap, two.key_id),
        ]
        for page in pages:
            first = await page(None, 2)
            rest = await page((first[-1].tenant_id, first[-1].key_id), 100)
            assert [record.tenant_id for record in (*first, *rest)] == sorted(tenants)
        assert await store.key_rotation.data_keys_with_wrap(two.key_id, None, 100) == []
        assert await store.key_rotation.data_keys_without_wrap(one.key_id, None, 100) == []

    async def test_a_destroyed_data_key_takes_no_wrap(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        await _introduce(store, one, two)
        stored = await store.keys.create_data_key(data_key(1, one))
        wrap = PlacedWrap("t1", stored.key_id, DataKeyWrap(two.key_id, b"second"))
        assert await store.key_rotation.add_wraps([wrap]) == 1
        await store.eraser.erase("t1", actor=None)
        assert await store.key_rotation.add_wraps([wrap]) == 0
        record = await store.keys.data_key("t1", stored.key_id)
        assert record == DataKeyRecord("t1", stored.key_id, DataKeyState.DESTROYED)
        assert await store.key_rotation.data_keys_without_wrap(one.key_id, None, 100) == []
        assert await store.key_rotation.key_counts() == KeyCounts({}, 0, 0, 1, 0)
        assert await store.eraser.purge() in (True, False, None)
