"""What a key may be used for, given its state and what the audit log says about it; and the SQL that changes states."""

import re
from pathlib import Path

import pytest

import vault_adapters.stores
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, MasterKeyRecord, MasterKeyState
from vault_domain.rules.key_states import (
    DATA_KEY_MOVES,
    MASTER_KEY_MOVES,
    is_resurrected,
    is_resurrected_master_key,
    may_open,
    may_seal,
)

STORES = Path(vault_adapters.stores.__file__).parent
TABLE = re.compile(r"(?:UPDATE|INTO) \S*?(data_key|master_key)\b")
FROM = re.compile(r"\bstate (?:= '(\w+)'|IN \(([^)]*)\))")


@pytest.mark.parametrize(
    ("state", "confirmed", "opens", "seals", "resurrected"),
    [
        ("active", None, True, True, False),
        ("active", "decrypt_only", True, False, True),
        ("active", "destroyed", False, False, True),
        ("decrypt_only", None, True, False, False),
        ("decrypt_only", "decrypt_only", True, False, False),
        ("decrypt_only", "destroyed", False, False, True),
        ("destroyed", None, False, False, False),
        ("destroyed", "decrypt_only", False, False, False),
        ("destroyed", "destroyed", False, False, False),
    ],
)
def test_a_data_key(state, confirmed, opens, seals, resurrected):
    key = DataKeyRecord("t", b"k", DataKeyState(state), confirmed=confirmed and DataKeyState(confirmed))
    assert (may_open(key), may_seal(key), is_resurrected(key)) == (opens, seals, resurrected)


@pytest.mark.parametrize(
    ("state", "confirmed", "resurrected"),
    [
        ("active", None, False),
        ("active", "active", False),
        ("active", "unwrap_only", True),
        ("active", "retired", True),
        ("unwrap_only", None, False),
        ("unwrap_only", "active", False),
        ("unwrap_only", "unwrap_only", False),
        ("unwrap_only", "retired", True),
        ("retired", None, False),
        ("retired", "active", False),
        ("retired", "unwrap_only", False),
        ("retired", "retired", False),
    ],
)
def test_a_master_key(state, confirmed, resurrected):
    confirms = confirmed and MasterKeyState(confirmed)
    key = MasterKeyRecord(b"k", "local", state=MasterKeyState(state), confirmed=confirms)
    assert is_resurrected_master_key(key) is resurrected


@pytest.mark.parametrize("store", ["postgres", "sqlite"])
def test_each_statement_that_changes_a_state_names_the_state_that_it_comes_from(store):
    moves = {"data_key": set(), "master_key": set()}
    for file in sorted((STORES / store).rglob("*.sql")):
        for statement in re.split(r"-- name: |;", file.read_text()):
            before, *changes = re.split(r"\bSET state = ", statement)
            for change in changes:
                table, state = TABLE.findall(before)[-1], re.match(r"'(\w+)'", change)[1]
                condition = FROM.search(change)
                assert condition, f"{file.name}: {statement} changes any state"
                moves[table] |= {(origin, state) for origin in re.findall(r"\w+", condition[1] or condition[2])}
                before = change
    assert moves == {"data_key": values(DATA_KEY_MOVES), "master_key": values(MASTER_KEY_MOVES)}


def values(moves):
    return {(before.value, after.value) for before, after in moves}
