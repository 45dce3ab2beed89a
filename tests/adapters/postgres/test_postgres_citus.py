"""Statements on tables that Citus distributes by tenant, checked without a cluster by their syntax trees.

`tests/contract/test_citus.py` runs the statements on a cluster.
"""

import re

import pytest
from pglast import parse_sql
from tests.adapters.postgres.citus_rules import (
    ANY_TENANT,
    DISTRIBUTED,
    ELSEWHERE,
    GATHERED,
    HAVING,
    LOCK,
    MOVED,
    NO_COLUMNS,
    OUTER,
    RECURSIVE,
    REFERENCE,
    REFERENCE_LOCK,
    REFUSED,
    SEVERAL_TENANTS,
    TIME,
    WRONG,
    broken_rules,
    statements_of,
)

from vault_adapters.stores.columns import MOST_BLOB, MOST_EXTRA, MOST_SCOPES, TOKEN, VALUE, bounded
from vault_adapters.stores.migrations import load_migrations
from vault_adapters.stores.postgres import citus
from vault_adapters.stores.postgres.citus_statements import (
    FUNCTIONS_SQL,
    FUNCTIONS_VERSION,
    HELD,
    UNHELD,
    held_parameters,
    version_of,
)
from vault_adapters.stores.postgres.schema import schema_sql
from vault_adapters.stores.postgres.statements import load_statements

PLAIN = load_statements("vault")
ON_CITUS = load_statements("vault", distributed=True)

COSTS = {
    # These ask every node, because no tenant is named. None of these statements is on the path of a request.
    ANY_TENANT: """
        adopt_audit_events count_data_keys count_tokens
        count_health count_wraps
        list_data_keys
        count_all_accounts list_kept_answers
        find_accounts find_events_since_turn measure_tokens has_data has_foreign_audit_events list_siblings
        latest_audit_events list_all_accounts list_audit_events list_provider_accounts
        list_doubtful_accounts list_tenants list_troubled_accounts prune_audit_events
        reserve_due_accounts""",
    # These have a CTE that writes. Its rows are gathered at the coordinator.
    GATHERED: """
        change_wraps create_data_keys put_data_keys put_wraps
        import_tokens reseal_tokens reserve_due_accounts""",
    OUTER: "get_tokens get_versions",
    # This locks one row that nobody else locks.
    REFERENCE_LOCK: "use_state",
}


@pytest.mark.parametrize("name", sorted(ON_CITUS))
def test_citus_refuses_no_statement(name):
    assert broken_rules(ON_CITUS[name]) & (REFUSED | WRONG) == frozenset()


def test_statements_that_cost_more_are_known():
    found = {rule: {name for name in ON_CITUS if rule in broken_rules(ON_CITUS[name])} for rule in COSTS}
    assert found == {rule: set(names.split()) for rule, names in COSTS.items()}


REQUESTED = """
    get_token_alone get_last_use get_token get_tokens load_account get_account get_data_keys
    store_token store_tokens append_events
    apply_row apply_account insert_tokens insert_row insert_events answer_kept answer_replaced answer_dropped
    hold_data_keys delete_orphaned_account"""
"""The statements that a request for one tenant runs."""


@pytest.mark.parametrize("name", REQUESTED.split())
def test_a_request_asks_the_node_of_its_tenant_only(name):
    assert broken_rules(ON_CITUS[name]) & {SEVERAL_TENANTS, ANY_TENANT} == frozenset()


def test_a_join_by_the_tenant_of_other_rows_asks_every_node():
    joined = {name for name in PLAIN if SEVERAL_TENANTS in broken_rules(PLAIN[name])}
    assert {"get_tokens", "get_versions", "store_tokens", "schedule_accounts", "load_held"} <= joined
    assert "load_account" not in joined


def test_each_rule_finds_what_a_plain_server_allows():
    """Each rule describes a difference between Citus and a plain server, so statements for a plain server break it."""
    found = {rule: {name for name in PLAIN if rule in broken_rules(PLAIN[name])} for rule in REFUSED}
    assert {"store_tokens", "load_held", "record_uses"} <= found[LOCK]
    assert {"apply_account", "store_token"} <= found[TIME]
    assert found[MOVED] == {"empty_tenant_audit_events"}
    assert found[RECURSIVE] == {"list_tenants"}
    grouped = "SELECT tenant_id FROM v.token GROUP BY tenant_id HAVING EXISTS (SELECT 1 FROM v.account)"
    assert HAVING in broken_rules(grouped)
    copied = (
        "INSERT INTO v.audit_event (tenant_id, {}) SELECT tenant_id, 1 FROM v.token WHERE tenant_id = %(tenant_id)b"
    )
    assert broken_rules(copied.format("kind")) == {ELSEWHERE}
    assert broken_rules(copied.format("xid")) == frozenset()
    assert found[NO_COLUMNS] == {"list_audit_events", "latest_audit_events"}


def test_locks_that_a_statement_lost_are_taken_or_not_needed():
    lost = {
        name
        for name in PLAIN
        if name in ON_CITUS and {LOCK, REFERENCE_LOCK} & broken_rules(PLAIN[name]) - broken_rules(ON_CITUS[name])
    }
    # The function that store_tokens calls takes the locks.
    assert lost <= HELD.keys() | UNHELD | {"store_tokens"}


def test_statements_before_another_run_tenant_by_tenant():
    sent = {"tenant_ids": ["b", "a", "b"], "kinds": ["1", "2", "3"], "provider": "p", "others": ["x"]}
    runs = list(held_parameters("SELECT %(tenant_id)b", sent))
    assert [(run["tenant_id"], run["kinds"]) for run in runs] == [("a", ["2"]), ("b", ["1", "3"])]
    assert all(run["provider"] == "p" and run["others"] == ["x"] for run in runs)
    assert list(held_parameters("LOCK TABLE x", sent)) == [{}]


def test_citus_refuses_no_statement_of_a_function():
    statements = list(statements_of(citus.functions_sql("vault")))
    assert len(statements) == 10, "those that name a table"
    for sql in statements:
        assert broken_rules(sql) == frozenset()


def test_changed_functions_have_a_new_version():
    assert re.fullmatch("[0-9a-f]{8}", FUNCTIONS_VERSION)
    assert all(name.endswith(f"_v{FUNCTIONS_VERSION}") for name in citus.FUNCTIONS)
    assert version_of(FUNCTIONS_SQL) == version_of(f"-- A comment.\n{FUNCTIONS_SQL}") == FUNCTIONS_VERSION
    assert version_of(FUNCTIONS_SQL.replace("given_client", "given_note")) != FUNCTIONS_VERSION


def test_sizes_that_a_query_did_not_check_are_checked():
    columns = {"t.scopes": "[]", "t.blob": b"b", "t.extra": None}
    row = tuple(columns.get(name) for name in (*TOKEN, *VALUE, "now"))
    assert bounded(row) == row
    damaged = tuple(None for _ in row)  # a table that was restored without its constraints may hold them
    assert bounded(damaged) == damaged
    scopes = "\xe9" * (MOST_SCOPES // 2 + 1)  # two bytes each
    large = {"t.scopes": scopes, "t.blob": bytes(MOST_BLOB + 1), "t.extra": bytes(MOST_EXTRA + 1)}
    emptied = dict(zip((*TOKEN, *VALUE), bounded([large.get(name) for name in (*TOKEN, *VALUE)]), strict=True))
    assert {name: value for name, value in emptied.items() if value is not None} == {"t.scopes": "", "t.extra": b""}


def test_no_migration_adds_a_column_together_with_a_constraint():
    """Citus refuses that on a table that it distributes; a constraint is added by a statement of its own."""
    for migration in load_migrations("vault_adapters.stores.postgres"):
        for statement in parse_sql(migration.sql.replace("{{schema}}", "vault")):
            commands = getattr(statement.stmt, "cmds", None) or ()
            columns = [each.def_ for each in commands if each.subtype.name == "AT_AddColumn"]
            assert not any(column.constraints for column in columns), migration.name


def test_every_table_is_distributed_or_copied(postgres):
    import psycopg

    assert set(citus.DISTRIBUTED) == DISTRIBUTED
    assert set(citus.REFERENCE) == REFERENCE
    url = postgres.create_database("tables_of_citus")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(schema_sql("vault"))
        tables = connection.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind IN ('r', 'p')"
            " AND NOT c.relispartition"
        ).fetchall()
        domains = connection.execute(
            "SELECT table_name FROM information_schema.columns WHERE table_schema = 'vault'"
            " AND column_name = 'tenant_id' AND domain_name IS NOT NULL AND table_name NOT LIKE 'audit_event_%'"
        ).fetchall()
        assert {name for (name,) in tables} == DISTRIBUTED | REFERENCE
        assert {name for (name,) in domains} == set(citus.CHECKED)
        assert not connection.execute("SELECT to_regclass('pg_catalog.pg_dist_partition')").fetchone()[0]


def test_the_script_needs_no_citus_up_to_its_functions(postgres):
    import psycopg

    url = postgres.create_database("script_of_citus")
    with psycopg.connect(url, autocommit=True) as connection:
        script = citus.citus_sql('va"ult').replace("\n-- ", "\n--")
        local, _ = script.split("SELECT create_reference_table", 1)
        for _ in range(2):  # the tables are created only if there are none
            connection.execute(local)
        [changed] = [part for part in script.split(";\n") if "audit_event ALTER COLUMN" in part]
        connection.execute(changed)
        kind = connection.execute(
            'SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = \'"va""ult".audit_event\'::regclass'
            " AND attname = 'tenant_id'"
        ).fetchone()
        assert kind == ("text",)
