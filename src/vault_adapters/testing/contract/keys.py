"""Test cases for the tables of master keys and data keys. If you write a store, begin with them: they need no token."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ContractFixtures
from vault_adapters.testing.contract.master_keys import activate, introduce, introduce_first, move, replace, retire
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import KeyUnavailableError
from vault_domain.entities.key_records import (
    DataKeyRecord,
    DataKeyState,
    DataKeyWrap,
    MasterKeyRecord,
    MasterKeyState,
)
from vault_domain.ports.change import Change
from vault_domain.ports.keys import DataKeyQuery, KeyCounts, PlacedWrap
from vault_domain.rules.key_states import is_resurrected_master_key


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
            await introduce(store.keys, record, known)
        else:
            await introduce_first(store.keys, record)
        known.add(record.key_id)


class KeyTableCases(ContractFixtures):
    """`Keys`, and the methods of `Keys` for the states and the wraps of keys."""

    async def test_an_empty_database_has_no_keys(self, store: Store) -> None:
        assert await store.keys.master_keys() == []
        assert await store.keys.data_key("t1", None) is None
        assert await store.keys.data_key("t1", bytes(16)) is None
        assert await store.keys.key_counts() == KeyCounts({}, 0, 0, 0, 0)
        assert await _events(store) == []

    @pytest.mark.parametrize("record", [master_key(1), MasterKeyRecord(bytes(16), "local")], ids=["full", "bare"])
    async def test_the_first_master_key_is_stored_as_active(
        self, store: Store, clock: ManualClock, record: MasterKeyRecord
    ) -> None:
        record = evolve(record, state=MasterKeyState.RETIRED)
        expected = evolve(record, state=MasterKeyState.ACTIVE, created_at=clock.now())
        assert await introduce_first(store.keys, record) == [expected]
        assert await store.keys.master_keys() == [expected]
        assert await _events(store) == []

    async def test_of_several_first_master_keys_one_wins(self, store: Store) -> None:
        records = [master_key(number) for number in range(1, 9)]
        results = await asyncio.gather(*(introduce_first(store.keys, record) for record in records))
        assert all(result == results[0] for result in results)
        assert len(results[0]) == 1

    async def test_of_several_further_master_keys_one_wins(self, store: Store) -> None:
        await _introduce(store, master_key(1))
        known = {master_key(1).key_id}
        others = [master_key(number) for number in range(2, 10)]
        results = await asyncio.gather(*(introduce(store.keys, record, known) for record in others))
        assert {len(result) for result in results} == {2}
        assert await _events(store) == [AuditAction.MASTER_KEY_INTRODUCED]

    async def test_a_data_key_is_returned_with_all_its_wraps(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        await _introduce(store, one, two)
        record = data_key(1, one, two)
        assert await store.keys.create_data_key(record) == evolve(record, wraps=record.wraps[:1])
        await activate(store.keys, two.key_id, one.key_id)
        assert await store.keys.change_wraps([PlacedWrap("t1", record.key_id, record.wraps[1])]) == 1
        for found in (
            await store.keys.data_key("t1", None),
            await store.keys.data_key("t1", record.key_id),
        ):
            assert found is not None
            assert sorted(found.wraps, key=lambda wrap: wrap.master_key_id) == list(record.wraps)
            assert evolve(found, wraps=record.wraps) == record
        assert await store.keys.data_key("t2", record.key_id) is None
        assert await store.keys.data_key("t2", None) is None
        assert await store.keys.key_counts() == KeyCounts({one.key_id: 1, two.key_id: 1}, 1, 0, 0, 0)
        assert await store.keys.key_counts("t2") == KeyCounts({}, 0, 0, 0, 0)

    async def test_of_several_first_data_keys_one_wins(self, store: Store) -> None:
        await _introduce(store, master_key(1))
        records = [data_key(number, master_key(1)) for number in range(1, 9)]
        found = await asyncio.gather(*map(store.keys.create_data_key, records))
        assert all(each == found[0] for each in found)
        kept = [record for record in records if await store.keys.data_key("t1", record.key_id)]
        assert [record.key_id for record in kept] == [found[0].key_id]

    async def test_only_the_active_master_key_wraps(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        await _introduce(store, one, two)
        stored = await store.keys.create_data_key(data_key(1, one, two))
        assert [wrap.master_key_id for wrap in stored.wraps] == [one.key_id]
        with pytest.raises(KeyUnavailableError) as caught:
            await store.keys.create_data_key(data_key(2, two, tenant_id="t2"))
        assert caught.value.reason == "retired_master_key"
        with pytest.raises(KeyUnavailableError):
            await replace(store.keys, stored.key_id, data_key(3, two))
        assert await store.keys.data_key("t1", None) == stored
        assert await store.keys.data_key("t2", None) is None
        late = PlacedWrap("t1", stored.key_id, DataKeyWrap(two.key_id, b"late"))
        assert await store.keys.change_wraps([late]) == 0
        assert await store.keys.data_key("t1", None) == stored

    async def test_the_audit_log_confirms_what_became_of_a_data_key(self, store: Store) -> None:
        await _introduce(store, master_key(1))

        async def read() -> list[DataKeyState | None]:
            records = [await store.keys.data_key("t1", bytes([number]) * 16) for number in (1, 2, 3)]
            return [record.confirmed for record in records if record is not None]

        assert (await store.keys.create_data_key(data_key(1, master_key(1)))).confirmed is None
        replacing = data_key(2, master_key(1))
        change = await replace(store.keys, bytes([1]) * 16, replacing)
        assert change.result == replacing
        assert await read() == [DataKeyState.DECRYPT_ONLY, None]
        await store.accounts.erase("t1", actor=None)
        assert await read() == [DataKeyState.DESTROYED, DataKeyState.DESTROYED]
        # A later erasure of the same tenant keeps the audit events that confirm the earlier erasure.
        await store.keys.create_data_key(data_key(3, master_key(1)))
        assert await read() == [DataKeyState.DESTROYED, DataKeyState.DESTROYED, None]
        await store.accounts.erase("t1", actor=None)
        assert await read() == [DataKeyState.DESTROYED] * 3
        # The events of ``t1`` do not concern another tenant's data key with the same id.
        other = await store.keys.create_data_key(data_key(1, master_key(1), tenant_id="t2"))
        assert other.confirmed is None
        assert (await store.keys.key_counts()).resurrected == 0

    async def test_the_audit_log_confirms_what_became_of_a_master_key(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        live, retired = MasterKeyState.UNWRAP_ONLY, MasterKeyState.RETIRED

        async def read() -> list[MasterKeyState | None]:
            records = sorted(await store.keys.master_keys(), key=lambda record: record.key_id)
            assert not any(map(is_resurrected_master_key, records))
            return [record.confirmed for record in records]

        await introduce_first(store.keys, one)
        assert await read() == [None]
        await introduce(store.keys, two, {one.key_id})
        assert await read() == [None, live]
        await activate(store.keys, two.key_id, one.key_id)
        assert await read() == [live, MasterKeyState.ACTIVE]
        await retire(store.keys, one.key_id)
        assert await read() == [retired, MasterKeyState.ACTIVE]
        await introduce(store.keys, one, {one.key_id, two.key_id})
        assert await read() == [live, MasterKeyState.ACTIVE]
        await activate(store.keys, one.key_id, two.key_id)
        assert await read() == [MasterKeyState.ACTIVE, live]
        await retire(store.keys, two.key_id)
        assert await read() == [MasterKeyState.ACTIVE, retired]
        # After a master key was retired, introduced again and activated, it wraps new data keys.
        assert (await store.keys.create_data_key(data_key(1, one, two))).wraps == data_key(1, one).wraps

    async def test_a_data_key_moves_to_one_wrap_alone(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        await _introduce(store, one, two)
        stored = await store.keys.create_data_key(data_key(1, one))
        await activate(store.keys, two.key_id, one.key_id)
        second = DataKeyWrap(two.key_id, b"second")
        assert await store.keys.change_wraps([PlacedWrap("t1", stored.key_id, second)]) == 1
        with pytest.raises(KeyUnavailableError):
            await move(store.keys, stored, DataKeyWrap(one.key_id, b"third"))
        third = DataKeyWrap(two.key_id, b"third")
        change = await move(store.keys, stored, third)
        [event] = change.events
        assert (event.action, event.tenant_id, event.actor, event.code) == (
            *(AuditAction.TENANT_MASTER_KEY_SET, "t1", "ops", "c"),
        )
        moved = evolve(stored, wraps=(third,))
        assert change.result == moved == await store.keys.data_key("t1", stored.key_id)
        last = (await store.audit.page("t1", limit=100, after=None))[-1]
        assert (last.action, last.occurred_at, last.code) == (event.action, event.occurred_at, "c")
        # Its wraps are no longer those that were seen.
        assert await move(store.keys, stored, second) == Change(moved)
        assert await store.keys.data_key("t1", stored.key_id) == moved
        await store.accounts.erase("t1", actor=None)
        assert (await move(store.keys, moved, second)).events == ()
        assert await store.keys.key_counts() == KeyCounts({}, 0, 0, 1, 0)

    async def test_pages_of_data_keys_are_sorted_by_tenant_and_id(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        await _introduce(store, one, two)
        tenants = ["b", "B", "a", "\u00e9", "ab"]
        for number, tenant_id in enumerate(tenants):
            await store.keys.create_data_key(data_key(number, one, tenant_id=tenant_id))
        pages = [
            partial(store.keys.data_keys, DataKeyQuery(wrapped_by=one.key_id)),
            partial(store.keys.data_keys, DataKeyQuery(not_wrapped_by=two.key_id)),
        ]
        for page in pages:
            first = await page(None, 2)
            rest = await page((first[-1].tenant_id, first[-1].key_id), 100)
            assert [record.tenant_id for record in (*first, *rest)] == sorted(tenants)
        [found] = await store.keys.data_keys(DataKeyQuery(key_id=data_key(1).key_id), None, 100)
        assert (found.tenant_id, found.key_id) == (tenants[1], data_key(1).key_id)
        assert await store.keys.data_keys(DataKeyQuery(key_id=b"n" * 16), None, 100) == []
        assert await store.keys.data_keys(DataKeyQuery(wrapped_by=two.key_id), None, 100) == []
        assert await store.keys.data_keys(DataKeyQuery(not_wrapped_by=one.key_id), None, 100) == []

    async def test_a_destroyed_data_key_takes_no_wrap(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        await _introduce(store, one, two)
        stored = await store.keys.create_data_key(data_key(1, one))
        await activate(store.keys, two.key_id, one.key_id)
        wrap = PlacedWrap("t1", stored.key_id, DataKeyWrap(two.key_id, b"second"))
        assert await store.keys.change_wraps([wrap]) == 1
        await store.accounts.erase("t1", actor=None)
        assert await store.keys.change_wraps([wrap]) == 0
        record = await store.keys.data_key("t1", stored.key_id)
        assert record == DataKeyRecord("t1", stored.key_id, DataKeyState.DESTROYED, confirmed=DataKeyState.DESTROYED)
        assert await store.keys.data_keys(DataKeyQuery(not_wrapped_by=one.key_id), None, 100) == []
        assert await store.keys.key_counts() == KeyCounts({}, 0, 0, 1, 0)
