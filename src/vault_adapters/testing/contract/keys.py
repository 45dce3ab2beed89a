"""Test cases for the tables of master keys and data keys. If you write a store, begin with them: they need no token."""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import timedelta
from functools import partial

import pytest
from attrs import evolve

from vault_adapters.composition import Store
from vault_adapters.testing.clock import ManualClock
from vault_adapters.testing.contract.fixtures import ContractFixtures
from vault_adapters.testing.contract.master_keys import activate, introduce, introduce_first, retire
from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import KeyUnavailableError
from vault_domain.entities.key_records import (
    DataKeyRecord,
    DataKeyState,
    DataKeyWrap,
    MasterKeyRecord,
    MasterKeyState,
)
from vault_domain.ports.keys import DataKeyQuery, KeyCounts, PlacedWrap
from vault_domain.rules.key_states import DATA_KEY_MOVES, MASTER_KEY_MOVES, is_resurrected_master_key
from vault_domain.transitions.keys import destroyed, emptied

TO_EMPTY = DataKeyQuery(state=DataKeyState.DECRYPT_ONLY, is_emptied=False)

SEED = 7
"""With this seed, `test_states_move_only_as_the_rules_allow` makes every change of state that the rules allow."""


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


async def _change_a_state(
    store: Store, clock: ManualClock, chance: random.Random, masters: list[MasterKeyRecord], number: int
) -> None:
    """Call a random method that changes states, with random arguments."""
    one, two = chance.sample(masters, 2)
    record, replaced = data_key(number, *masters), bytes([chance.randrange(1, number + 1)]) * 16
    match chance.randrange(7):
        case 0:
            await introduce(store.keys, one, {key.key_id for key in masters})
        case 1:
            await activate(store.keys, one.key_id, two.key_id)
        case 2:
            await retire(store.keys, one.key_id)
        case 3:
            await store.eraser.erase("t1", actor=None)
        case 4:
            await store.keys.change_data_keys(TO_EMPTY, emptied)
            clock.advance(timedelta(days=1))
            long_empty = DataKeyQuery(state=DataKeyState.DECRYPT_ONLY, min_empty=timedelta(days=1))
            await store.keys.change_data_keys(long_empty, partial(destroyed, actor=None))
        case 5:
            await store.keys.create_data_key(record)
        case _:
            active = await store.keys.active_data_key("t1")
            if active is not None and chance.random() < 0.7:
                replaced = active.key_id
            await store.keys.replace_active_data_key(replaced, record, actor=None)


async def _states(store: Store, number: int) -> dict[object, object]:
    """Return the states of all master keys, and of the data keys of ``t1`` with the numbers 1 to ``number``."""
    states: dict[object, object] = {record.key_id: record.state for record in await store.keys.master_keys()}
    for data_key_number in range(1, number + 1):
        record = await store.keys.data_key("t1", bytes([data_key_number]) * 16)
        states["t1", data_key_number] = None if record is None else record.state
    return {key: state for key, state in states.items() if state is not None}


class KeyTableCases(ContractFixtures):
    """`Keys`, and the methods of `Keys` for the states and the wraps of keys."""

    async def test_an_empty_database_has_no_keys(self, store: Store) -> None:
        assert await store.keys.master_keys() == []
        assert await store.keys.active_data_key("t1") is None
        assert await store.keys.data_key("t1", bytes(16)) is None
        assert await store.keys.key_counts() == KeyCounts({}, 0, 0, 0, 0)
        assert await _events(store) == []

    async def test_the_first_master_key_is_stored_as_active(self, store: Store, clock: ManualClock) -> None:
        record = evolve(master_key(1), state=MasterKeyState.RETIRED)
        expected = evolve(record, state=MasterKeyState.ACTIVE, created_at=clock.now())
        assert await introduce_first(store.keys, record) == [expected]
        assert await store.keys.master_keys() == [expected]
        assert await _events(store) == []

    async def test_of_several_first_master_keys_one_wins(self, store: Store) -> None:
        records = [master_key(number) for number in range(1, 9)]
        results = await asyncio.gather(*(introduce_first(store.keys, record) for record in records))
        assert all(result == results[0] for result in results)
        assert len(results[0]) == 1

    async def test_a_further_master_key_only_unwraps(self, store: Store, clock: ManualClock) -> None:
        first, second = master_key(1), master_key(2)
        [active] = await introduce_first(store.keys, first)
        clock.set(clock.now())
        found = await introduce(store.keys, second, {first.key_id})
        live = MasterKeyState.UNWRAP_ONLY
        expected = evolve(second, state=live, created_at=clock.now(), confirmed=live)
        assert sorted(found, key=lambda record: record.key_id) == [active, expected]
        [event] = await store.audit.page(None, limit=100, after=None)
        assert (event.action, event.code) == (AuditAction.MASTER_KEY_INTRODUCED, second.key_id.hex())
        assert (event.tenant_id, event.occurred_at) == (None, clock.now())

    async def test_of_several_further_master_keys_one_wins(self, store: Store) -> None:
        await _introduce(store, master_key(1))
        known = {master_key(1).key_id}
        others = [master_key(number) for number in range(2, 10)]
        results = await asyncio.gather(*(introduce(store.keys, record, known) for record in others))
        assert {len(result) for result in results} == {2}
        assert await _events(store) == [AuditAction.MASTER_KEY_INTRODUCED]

    async def test_a_retired_master_key_may_be_introduced_again(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        await _introduce(store, one, two)
        [event] = (await retire(store.keys, two.key_id)).events
        assert (event.action, event.actor, event.code) == (AuditAction.MASTER_KEY_RETIRED, "me", two.key_id.hex())
        for key_id in two.key_id, one.key_id, bytes(16):
            assert tuple((await retire(store.keys, key_id)).events) == ()
        states = {record.key_id: record.state for record in await store.keys.master_keys()}
        assert states == {one.key_id: MasterKeyState.ACTIVE, two.key_id: MasterKeyState.RETIRED}
        await introduce(store.keys, two, {one.key_id, two.key_id})
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
        assert await store.keys.create_data_key(record) == evolve(record, wraps=record.wraps[:1])
        await activate(store.keys, two.key_id, one.key_id)
        assert await store.keys.change_wraps([PlacedWrap("t1", record.key_id, record.wraps[1])]) == 1
        for found in (
            await store.keys.active_data_key("t1"),
            await store.keys.data_key("t1", record.key_id),
        ):
            assert found is not None
            assert sorted(found.wraps, key=lambda wrap: wrap.master_key_id) == list(record.wraps)
            assert evolve(found, wraps=record.wraps) == record
        assert await store.keys.data_key("t2", record.key_id) is None
        assert await store.keys.active_data_key("t2") is None
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
            await store.keys.replace_active_data_key(stored.key_id, data_key(3, two), actor=None)
        assert await store.keys.active_data_key("t1") == stored
        assert await store.keys.active_data_key("t2") is None
        late = PlacedWrap("t1", stored.key_id, DataKeyWrap(two.key_id, b"late"))
        assert await store.keys.change_wraps([late]) == 0
        assert await store.keys.active_data_key("t1") == stored

    async def test_after_an_activation_the_new_master_key_wraps(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        await _introduce(store, one, two)
        before = await store.keys.create_data_key(data_key(1, one))
        await activate(store.keys, two.key_id, one.key_id)
        for record in data_key(2, one, tenant_id="t2"), data_key(3, one, two, tenant_id="t2"):
            with contextlib.suppress(KeyUnavailableError):
                await store.keys.create_data_key(record)
        after = await store.keys.active_data_key("t2")
        assert after is not None
        assert (after.key_id, [wrap.master_key_id for wrap in after.wraps]) == (bytes([3]) * 16, [two.key_id])
        with pytest.raises(KeyUnavailableError):
            await store.keys.replace_active_data_key(before.key_id, data_key(4, one), actor=None)
        late = PlacedWrap("t2", after.key_id, DataKeyWrap(one.key_id, b"late"))
        assert await store.keys.change_wraps([late]) == 0
        assert await store.keys.active_data_key("t1") == before
        assert await store.keys.active_data_key("t2") == after

    async def test_the_audit_log_confirms_what_became_of_a_data_key(self, store: Store) -> None:
        await _introduce(store, master_key(1))

        async def read() -> list[DataKeyState | None]:
            records = [await store.keys.data_key("t1", bytes([number]) * 16) for number in (1, 2, 3)]
            return [record.confirmed for record in records if record is not None]

        assert (await store.keys.create_data_key(data_key(1, master_key(1)))).confirmed is None
        replacing = data_key(2, master_key(1))
        change = await store.keys.replace_active_data_key(bytes([1]) * 16, replacing, actor=None)
        assert change.result == replacing
        assert await read() == [DataKeyState.DECRYPT_ONLY, None]
        await store.eraser.erase("t1", actor=None)
        assert await read() == [DataKeyState.DESTROYED, DataKeyState.DESTROYED]
        # A later erasure of the same tenant keeps the audit events that confirm the earlier erasure.
        await store.keys.create_data_key(data_key(3, master_key(1)))
        assert await read() == [DataKeyState.DESTROYED, DataKeyState.DESTROYED, None]
        await store.eraser.erase("t1", actor=None)
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

    async def test_states_move_only_as_the_rules_allow(self, store: Store, clock: ManualClock) -> None:
        masters = [master_key(number) for number in range(1, 4)]
        await introduce_first(store.keys, masters[0])
        chance, seen = random.Random(SEED), set[object]()  # noqa: S311
        before = await _states(store, 0)
        for number in range(1, 80):
            with contextlib.suppress(KeyUnavailableError):
                await _change_a_state(store, clock, chance, masters, number)
            after = await _states(store, number)
            moves = {(state, after[key]) for key, state in before.items() if after[key] != state}
            assert moves <= DATA_KEY_MOVES | MASTER_KEY_MOVES
            seen |= moves
            before = after
        assert seen == DATA_KEY_MOVES | MASTER_KEY_MOVES  # each allowed change was made

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
        assert await store.keys.data_keys(DataKeyQuery(wrapped_by=two.key_id), None, 100) == []
        assert await store.keys.data_keys(DataKeyQuery(not_wrapped_by=one.key_id), None, 100) == []

    async def test_a_destroyed_data_key_takes_no_wrap(self, store: Store) -> None:
        one, two = master_key(1), master_key(2)
        await _introduce(store, one, two)
        stored = await store.keys.create_data_key(data_key(1, one))
        await activate(store.keys, two.key_id, one.key_id)
        wrap = PlacedWrap("t1", stored.key_id, DataKeyWrap(two.key_id, b"second"))
        assert await store.keys.change_wraps([wrap]) == 1
        await store.eraser.erase("t1", actor=None)
        assert await store.keys.change_wraps([wrap]) == 0
        record = await store.keys.data_key("t1", stored.key_id)
        assert record == DataKeyRecord("t1", stored.key_id, DataKeyState.DESTROYED, confirmed=DataKeyState.DESTROYED)
        assert await store.keys.data_keys(DataKeyQuery(not_wrapped_by=one.key_id), None, 100) == []
        assert await store.keys.key_counts() == KeyCounts({}, 0, 0, 1, 0)
        assert await store.eraser.purge() in (True, False, None)
