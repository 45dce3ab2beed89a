"""The SQL that changes states of data keys: both stores make the moves that the rules allow, and no others."""

import re
from pathlib import Path

import pytest

import vault_adapters.stores
from vault_domain.rules.key_states import DATA_KEY_MOVES

STORES = Path(vault_adapters.stores.__file__).parent
TABLE = re.compile(r"(?:UPDATE|INTO) \S*?(data_key|master_key)\b")
FROM = re.compile(r"\bstate (?:= '(\w+)'|IN \(([^)]*)\))")


@pytest.mark.parametrize("store", ["postgres", "sqlite"])
def test_each_statement_that_changes_a_state_names_the_state_that_it_comes_from(store):
    moves = {"data_key": set()}
    for file in sorted((STORES / store).rglob("*.sql")):
        for statement in re.split(r"-- name: |;", file.read_text()):
            before, *changes = re.split(r"\bSET state = (?!excluded)", statement)
            for change in changes:
                table, state = TABLE.findall(before)[-1], re.match(r"'(\w+)'", change)[1]
                condition = FROM.search(change)
                assert condition, f"{file.name}: {statement} does not name the state before the change"
                moves[table] |= {(origin, state) for origin in re.findall(r"\w+", condition[1] or condition[2])}
                before = change
    assert moves == {"data_key": values(DATA_KEY_MOVES)}


def values(moves):
    return {(before.value, after.value) for before, after in moves}
