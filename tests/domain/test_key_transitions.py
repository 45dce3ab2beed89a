"""What becomes of master keys and data keys, without a store."""

from datetime import UTC, datetime
from itertools import product

import pytest
from attrs import evolve

from vault_domain.entities.audit import AuditAction
from vault_domain.entities.errors import KeyUnavailableError
from vault_domain.entities.key_decisions import MasterKeySet
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, DataKeyWrap, MasterKeyRecord, MasterKeyState
from vault_domain.rules.key_states import DATA_KEY_MOVES, MASTER_KEY_MOVES, confirmed_data_key, confirmed_master_key
from vault_domain.transitions.keys import (
    activated,
    created,
    destroyed,
    emptied,
    introduced,
    introduced_first,
    moved,
    replaced,
    retired,
    unwrapped,
    wrapped,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EARLIER = datetime(2025, 1, 1, tzinfo=UTC)
ACTIVE, UNWRAP_ONLY, RETIRED = MasterKeyState.ACTIVE, MasterKeyState.UNWRAP_ONLY, MasterKeyState.RETIRED
ONE, TWO, NEW = b"1" * 16, b"2" * 16, b"n" * 16


def master_keys(*states, **more):
    """Return a set of master keys in these states; the first has the id ``ONE``, the second ``TWO``."""
    stored = [MasterKeyRecord(key_id, "local", created_at=EARLIER) for key_id in (ONE, TWO)]
    records = [evolve(record, state=state) for record, state in zip(stored, states, strict=False)]
    return MasterKeySet(tuple(records), **more)


def states(decision):
    return {record.key_id: record.state for record in decision.state.records}


def told(decision):
    return [(event.action, event.code, event.actor, event.occurred_at) for event in decision.events]


def test_the_first_master_key_is_active_at_once_and_has_no_event():
    record = MasterKeyRecord(NEW, "local", state=RETIRED)
    decision = introduced_first(MasterKeySet(is_new=True), NOW, record)
    assert decision.state.records == (evolve(record, state=ACTIVE, created_at=NOW),)
    assert decision.events == ()


@pytest.mark.parametrize("keys", [MasterKeySet(), master_keys(RETIRED)])
def test_a_database_that_lost_its_master_key_does_not_look_new(keys):
    assert introduced_first(keys, NOW, MasterKeyRecord(NEW, "local")).state is keys


def test_a_further_master_key_only_unwraps():
    record = MasterKeyRecord(NEW, "local", state=ACTIVE)
    decision = introduced(master_keys(ACTIVE), NOW, record, {ONE})
    assert decision.state.get(NEW) == evolve(record, state=UNWRAP_ONLY, created_at=NOW)
    assert told(decision) == [(AuditAction.MASTER_KEY_INTRODUCED, NEW.hex(), None, NOW)]


def test_who_has_not_seen_all_master_keys_introduces_none():
    keys = master_keys(ACTIVE, RETIRED)
    assert introduced(keys, NOW, MasterKeyRecord(NEW, "local"), {ONE}).state is keys
    assert introduced(keys, NOW, MasterKeyRecord(NEW, "local"), {ONE, TWO}).state is not keys


@pytest.mark.parametrize(("state", "comes_back"), [(RETIRED, True), (UNWRAP_ONLY, False)])
def test_only_a_retired_master_key_comes_back_and_keeps_what_is_stored_of_it(state, comes_back):
    keys = master_keys(ACTIVE, state)
    decision = introduced(keys, NOW, MasterKeyRecord(TWO, "other", kdf="other"), {ONE, TWO})
    assert (decision.state is not keys) == comes_back == bool(decision.events)
    assert decision.state.get(TWO) == evolve(keys.get(TWO), state=UNWRAP_ONLY)


@pytest.mark.parametrize(("old", "new"), list(product(MasterKeyState, repeat=2)))
def test_an_activation_replaces_the_active_master_key_alone(old, new):
    keys = master_keys(old, new)
    decision = activated(keys, NOW, TWO, ONE, "me")
    if (old, new) == (ACTIVE, UNWRAP_ONLY):
        assert states(decision) == {ONE: UNWRAP_ONLY, TWO: ACTIVE}
        assert told(decision) == [(AuditAction.MASTER_KEY_ACTIVATED, TWO.hex(), "me", NOW)]
    else:
        assert (decision.state is keys, decision.events) == (True, ())


@pytest.mark.parametrize(("key_id", "replaced"), [(NEW, ONE), (TWO, NEW)])
def test_an_activation_needs_both_master_keys(key_id, replaced):
    keys = master_keys(ACTIVE, UNWRAP_ONLY)
    assert activated(keys, NOW, key_id, replaced, None).state is keys


@pytest.mark.parametrize("in_use", [frozenset(), frozenset({ONE}), frozenset({TWO})])
@pytest.mark.parametrize("state", list(MasterKeyState))
def test_a_master_key_that_is_active_or_in_use_is_not_retired(state, in_use):
    keys = master_keys(UNWRAP_ONLY, state, in_use=in_use)
    decision = retired(keys, NOW, TWO, "me")
    if state is UNWRAP_ONLY and TWO not in in_use:
        assert states(decision) == {ONE: UNWRAP_ONLY, TWO: RETIRED}
        assert told(decision) == [(AuditAction.MASTER_KEY_RETIRED, TWO.hex(), "me", NOW)]
    else:
        assert (decision.state is keys, decision.events) == (True, ())
    assert retired(keys, NOW, NEW, "me").state is keys


def test_no_decision_makes_a_change_that_the_rules_do_not_list():
    seen = set()
    for pair in product(MasterKeyState, repeat=2):
        keys = master_keys(*pair)
        before = {record.key_id: record.state for record in keys.records}
        for decision in (
            introduced(keys, NOW, MasterKeyRecord(TWO, "local"), {ONE, TWO}),
            activated(keys, NOW, TWO, ONE, None),
            retired(keys, NOW, TWO, None),
        ):
            seen |= {(state, states(decision)[key_id]) for key_id, state in before.items()}
    assert {move for move in seen if move[0] is not move[1]} == MASTER_KEY_MOVES


DATA = DataKeyRecord("t1", b"d" * 16, DataKeyState.ACTIVE, (DataKeyWrap(ONE, b"one"), DataKeyWrap(TWO, b"two")))
DECRYPT_ONLY = evolve(DATA, state=DataKeyState.DECRYPT_ONLY)
EMPTIED = evolve(DECRYPT_ONLY, emptied_at=EARLIER)
DESTROYED = evolve(EMPTIED, state=DataKeyState.DESTROYED, wraps=())
FRESH = DataKeyRecord("t1", NEW, DataKeyState.ACTIVE, DATA.wraps)
MASTERS = master_keys(UNWRAP_ONLY, ACTIVE).records
SET_BACK = MasterKeyRecord(ONE, "local", state=ACTIVE, confirmed=UNWRAP_ONLY)


def test_a_new_data_key_is_wrapped_under_the_active_master_key_alone():
    masters = master_keys(UNWRAP_ONLY, ACTIVE).records
    assert created(masters, evolve(DESTROYED, wraps=DATA.wraps)) == evolve(
        EMPTIED, state=DataKeyState.ACTIVE, wraps=DATA.wraps[1:]
    )


@pytest.mark.parametrize("masters", [(), master_keys(UNWRAP_ONLY, RETIRED).records, (SET_BACK,)])
def test_a_new_data_key_needs_a_wrap_under_the_active_master_key(masters):
    with pytest.raises(KeyUnavailableError) as caught:
        created(masters, DATA)
    assert caught.value.reason == "retired_master_key"


def test_a_rotation_leaves_the_old_data_key_for_opening():
    decision = replaced(DATA, MASTERS, NOW, FRESH, "me")
    assert (decision.state, decision.new) == (DECRYPT_ONLY, created(MASTERS, FRESH))
    assert told(decision) == [
        (AuditAction.DATA_KEY_REPLACED, DATA.key_id.hex(), "me", NOW),
        (AuditAction.DATA_KEY_ROTATED, NEW.hex(), "me", NOW),
    ]
    assert {event.tenant_id for event in decision.events} == {"t1"}


@pytest.mark.parametrize("stored", [DECRYPT_ONLY, EMPTIED, DESTROYED])
def test_only_the_active_data_key_is_replaced(stored):
    decision = replaced(stored, MASTERS, NOW, FRESH, None)
    assert (decision.state is stored, decision.events, decision.new) == (True, (), None)


@pytest.mark.parametrize("stored", [DATA, DECRYPT_ONLY, EMPTIED, DESTROYED])
@pytest.mark.parametrize("is_used", [True, False])
def test_only_a_data_key_that_nobody_uses_is_emptied_and_once(stored, is_used):
    decision = emptied(stored, NOW, is_used)
    if stored is DECRYPT_ONLY and not is_used:
        assert decision.state == evolve(stored, emptied_at=NOW)
    else:
        assert decision.state is stored
    assert decision.events == ()


@pytest.mark.parametrize("stored", [DATA, DECRYPT_ONLY, EMPTIED, DESTROYED])
def test_only_an_emptied_data_key_is_destroyed(stored):
    decision = destroyed(stored, NOW, False, "me")
    if stored is EMPTIED:
        assert decision.state == DESTROYED
        assert told(decision) == [(AuditAction.DATA_KEY_DESTROYED, DATA.key_id.hex(), "me", NOW)]
        assert decision.events[0].tenant_id == "t1"
    else:
        assert (decision.state is stored, decision.events) == (True, ())


def test_a_data_key_that_a_restored_token_uses_is_not_destroyed():
    decision = destroyed(EMPTIED, NOW, True, None)
    assert (decision.state, decision.events) == (DECRYPT_ONLY, ())


@pytest.mark.parametrize("stored", [DATA, DECRYPT_ONLY])
def test_a_missing_wrap_is_added_under_the_active_master_key_alone(stored):
    one, two = DATA.wraps
    bare = evolve(stored, wraps=(one,))
    masters = master_keys(UNWRAP_ONLY, ACTIVE).records
    assert wrapped(masters, bare, two) == stored
    assert wrapped(masters, stored, evolve(two, wrapped=b"other")) is stored
    assert wrapped(master_keys(ACTIVE, UNWRAP_ONLY).records, bare, two) is bare
    assert wrapped(masters, DESTROYED, two) is DESTROYED


def test_a_wrap_is_deleted_only_if_the_kept_one_is_stored_under_the_active_master_key():
    one, two = DATA.wraps
    masters = master_keys(UNWRAP_ONLY, ACTIVE).records
    assert unwrapped(masters, DATA, ONE, two) == evolve(DATA, wraps=(two,))
    assert unwrapped(masters, DATA, ONE, evolve(two, wrapped=b"other")) is DATA
    assert unwrapped(masters, DATA, TWO, two) is DATA
    assert unwrapped(masters, DATA, NEW, two) is DATA
    assert unwrapped(masters, DATA, TWO, one) is DATA


def test_data_keys_move_as_the_rules_list_and_a_destroyed_one_never():
    moves = set()
    for stored in (DATA, DECRYPT_ONLY, EMPTIED, DESTROYED):
        decisions = [replaced(stored, MASTERS, NOW, FRESH, None)]
        decisions += [emptied(stored, NOW, used) for used in (True, False)]
        decisions += [destroyed(stored, NOW, used, None) for used in (True, False)]
        moves |= {(stored.state, decision.state.state) for decision in decisions}
    moves = {move for move in moves if move[0] is not move[1]}
    assert moves == DATA_KEY_MOVES - {(DataKeyState.ACTIVE, DataKeyState.DESTROYED)}  # that is an erasure


def test_the_log_confirms_what_became_of_keys():
    assert confirmed_data_key(None) is None
    assert confirmed_data_key("data_key_replaced") is DataKeyState.DECRYPT_ONLY
    assert confirmed_data_key("data_key_destroyed") is DataKeyState.DESTROYED
    assert confirmed_master_key(ONE, None, None) is None
    assert confirmed_master_key(ONE, "master_key_introduced", None) is UNWRAP_ONLY
    assert confirmed_master_key(ONE, "master_key_activated", ONE.hex()) is ACTIVE
    assert confirmed_master_key(ONE, "master_key_activated", TWO.hex()) is UNWRAP_ONLY
    assert confirmed_master_key(ONE, None, TWO.hex()) is UNWRAP_ONLY
    assert confirmed_master_key(ONE, "master_key_retired", TWO.hex()) is RETIRED
    assert confirmed_master_key(ONE, "master_key_retired", ONE.hex()) is RETIRED
    assert confirmed_master_key(ONE, "master_key_introduced", ONE.hex()) is ACTIVE


LESS = evolve(DATA, wraps=DATA.wraps[:1])
MOVED = DataKeyWrap(NEW, b"under the tenant's key")
TENANTS = (MasterKeyRecord(NEW, "local", state=ACTIVE),)


@pytest.mark.parametrize("seen", [DATA, LESS], ids=["all wraps", "some wraps"])
def test_a_data_key_moves_under_one_master_key_alone(seen):
    decision = moved(DATA, TENANTS, NOW, seen, MOVED, "x", "me")
    assert decision.state == evolve(DATA, wraps=(MOVED,))
    assert told(decision) == [(AuditAction.TENANT_MASTER_KEY_SET, "x", "me", NOW)]
    assert [event.tenant_id for event in decision.events] == ["t1"]


def test_what_is_not_wrapped_under_the_active_master_key_is_neither_moved_nor_replaced():
    with pytest.raises(KeyUnavailableError):
        moved(DATA, MASTERS, NOW, DATA, MOVED, "x", "me")
    with pytest.raises(KeyUnavailableError):
        replaced(DATA, TENANTS, NOW, FRESH, "me")


def test_only_the_move_of_the_active_data_key_has_an_event():
    older = evolve(DATA, state=DataKeyState.DECRYPT_ONLY)
    decision = moved(older, TENANTS, NOW, older, MOVED, "x", "me")
    assert decision.state.wraps == (MOVED,)
    assert decision.events == ()


def test_what_is_no_longer_as_it_was_seen_is_neither_moved_nor_replaced():
    destroyed_key = evolve(LESS, state=DataKeyState.DESTROYED)
    for stored, seen in ((LESS, DATA), (destroyed_key, destroyed_key)):
        decision = moved(stored, TENANTS, NOW, seen, MOVED, "x", "me")
        assert decision.state is stored
        assert decision.events == ()
    assert replaced(LESS, MASTERS, NOW, FRESH, "me", DATA).state is LESS
    assert replaced(DATA, MASTERS, NOW, FRESH, "me", LESS).state.state is DataKeyState.DECRYPT_ONLY
