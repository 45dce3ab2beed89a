"""What becomes of master keys, without a store."""

from datetime import UTC, datetime
from itertools import product

import pytest
from attrs import evolve

from vault_domain.entities.audit import AuditAction
from vault_domain.entities.key_decisions import MasterKeySet
from vault_domain.entities.key_records import MasterKeyRecord, MasterKeyState
from vault_domain.rules.key_states import MASTER_KEY_MOVES
from vault_domain.transitions.keys import activated, introduced, introduced_first, retired

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
