"""The only SQL that decides a state of a key is that of an erasure, which destroys data keys."""

import re
from pathlib import Path

import pytest

import vault_adapters.stores

STORES = Path(vault_adapters.stores.__file__).parent
TABLE = re.compile(r"(?:UPDATE|INTO) \S*?(data_key|master_key)\b")
FROM = re.compile(r"\bstate (?:= '(\w+)'|IN \(([^)]*)\))")


@pytest.mark.parametrize("store", ["postgres", "sqlite"])
def test_each_statement_that_changes_a_state_names_the_state_that_it_comes_from(store):
    moves = {"data_key": set()}
    for file in sorted((STORES / store).rglob("*.sql")):
        for statement in re.split(r"-- name: |;", file.read_text()):
            before, *changes = re.split(r"\bSET state = (?!excluded|h\.state|:state)", statement)
            for change in changes:
                table, state = TABLE.findall(before)[-1], re.match(r"'(\w+)'", change)[1]
                condition = FROM.search(change)
                assert condition, f"{file.name}: {statement} does not name the state before the change"
                moves[table] |= {(origin, state) for origin in re.findall(r"\w+", condition[1] or condition[2])}
                before = change
    assert moves == {"data_key": {("active", "destroyed"), ("decrypt_only", "destroyed")}}
