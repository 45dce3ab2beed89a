"""A query with conditions that not every caller asks for reads the index that serves those which one asks for."""

import re
import sqlite3

import pytest

from vault_adapters.stores.postgres.statements import load_statements as postgres_statements
from vault_adapters.stores.sqlite.schema import schema_sql
from vault_adapters.stores.sqlite.statements import load_statements

QUERIES = {
    "sqlite": load_statements(),
    "postgres": postgres_statements("vault"),
    "citus": postgres_statements("vault", distributed=True),
}
PARAMETER = re.compile(r"(?<!:)(?:%\(|:)([a-z_]+)")


@pytest.mark.parametrize("store", QUERIES)
@pytest.mark.parametrize("name", ["list_audit_events", "latest_audit_events", "list_data_keys"])
def test_only_conditions_that_are_asked_for_are_left(store, name):
    queries = QUERIES[store]
    none = dict.fromkeys(PARAMETER.findall(queries[name]))
    assert "IS NULL OR" in " ".join(queries[name].split())
    for given in none.keys() - {"now", "other_state"}:  # these go with an age and a state
        narrowed = " ".join(queries.narrowed(name, none | {given: "x"}).split())
        assert "IS NULL OR" not in narrowed
        assert given in PARAMETER.findall(narrowed)


@pytest.mark.parametrize(
    ("name", "given", "index"),
    [
        ("list_audit_events", {"tenant_id": "t1"}, "token_vault_audit_event_tenant (tenant_id=? AND seq>?)"),
        (
            "latest_audit_events",
            {"tenant_id": "t1", "provider": "google"},
            "token_vault_audit_event_tenant (tenant_id=?)",
        ),
        ("list_data_keys", {"data_key_id": b"d" * 16}, "token_vault_data_key_id (data_key_id=?)"),
        (
            "find_rows_to_reseal",
            {"tenant_id": "t1"},
            "sqlite_autoindex_token_vault_token_1 ((tenant_id,provider,identifier,kind)>(?,?,?,?) AND tenant_id<?)",
        ),
    ],
)
def test_sqlite_reads_the_index_of_what_is_asked_for(name, given, index):
    queries = QUERIES["sqlite"]
    parameters = dict.fromkeys(PARAMETER.findall(queries[name])) | given
    with sqlite3.connect(":memory:") as database:
        database.executescript(schema_sql())
        plan = database.execute(f"EXPLAIN QUERY PLAN {queries.narrowed(name, parameters)}", parameters).fetchall()
    assert any(step.endswith(f"USING INDEX {index}") for *_, step in plan), plan
