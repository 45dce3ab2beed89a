"""A store is small, and its statements decide nothing: what becomes of a state is decided by the transitions."""

import inspect
import re
import sqlite3

import pytest
from pglast import ast
from pglast.stream import RawStream
from pglast.visitors import Skip, Visitor
from tests.adapters.postgres.citus_rules import parsed
from tests.support.store_ports import port_classes

from vault_adapters.stores.postgres.statements import load_statements as postgres_statements
from vault_adapters.stores.sqlite.schema import schema_sql
from vault_adapters.stores.sqlite.statements import load_statements as sqlite_statements

MOST_PORTS, MOST_METHODS = 6, 39
STATES = ("token", "account", "client_refusal", "master_key", "data_key")
"""The tables whose rows are states: what becomes of one is decided by a transition."""

BLIND = {"store_token", "store_tokens", "schedule_accounts"}
"""The statements that may decide: the blind upsert of values with the due times of their accounts."""

_CHOICE = re.compile(r"\bCASE\b.*?\bEND\b|\b(?:min|max)\s*\((?:[^()]|\([^()]*\))*,(?:[^()]|\([^()]*\))*\)", re.DOTALL)
_WRITES = re.compile(r"^\s*(?:INSERT|UPDATE|DELETE|REPLACE)\b", re.MULTILINE)


def ports():
    """Return the methods of each port of a store, by the port's attribute."""
    return {
        name: [method for method, _ in inspect.getmembers(port, inspect.isfunction) if not method.startswith("_")]
        for name, port in port_classes().items()
    }


def test_a_store_is_small():
    found = ports()
    assert len(found) <= MOST_PORTS
    assert sum(map(len, found.values())) <= MOST_METHODS, found


@pytest.fixture(scope="module")
def columns():
    """Give the columns of all states."""
    with sqlite3.connect(":memory:") as database:
        database.executescript(schema_sql())
        return {
            column for table in STATES for _, column, *_ in database.execute(f"PRAGMA table_info(token_vault_{table})")
        }


class Choices(Visitor):
    """Finds the columns over which a statement that writes chooses; whether somebody is notified is no such choice."""

    def __init__(self, columns):
        self._columns = columns
        self.writes, self.found = False, []

    def visit_InsertStmt(self, ancestors, node):  # noqa: N802
        self.writes = True

    visit_UpdateStmt = visit_DeleteStmt = visit_InsertStmt  # noqa: N815

    def visit_FuncCall(self, ancestors, node):  # noqa: N802
        return Skip if node.funcname[-1].sval == "pg_notify" else None

    def visit_CaseExpr(self, ancestors, node):  # noqa: N802
        inner = _Columns()
        inner(node)
        if inner.notifies:
            return Skip
        self.found += [name for name in inner.names if name in self._columns]
        return None

    visit_MinMaxExpr = visit_CaseExpr  # noqa: N815


class _Columns(Visitor):
    def __init__(self):
        self.names, self.notifies = [], False

    def visit_FuncCall(self, ancestors, node):  # noqa: N802
        self.notifies |= node.funcname[-1].sval == "pg_notify"

    def visit_ColumnRef(self, ancestors, node):  # noqa: N802
        if isinstance(node.fields[-1], ast.String):
            self.names.append(node.fields[-1].sval)


def chosen_on_postgres(sql, columns):
    """Return the columns over which a statement that writes chooses by CASE, least or greatest."""
    choices = Choices(columns)
    choices(parsed(sql))
    return choices.found if choices.writes else []


def chosen_on_sqlite(sql, columns):
    """Return the columns over which a statement that writes chooses by CASE, min or max of several values."""
    if not _WRITES.search(sql):
        return []
    return [name for choice in _CHOICE.findall(sql) for name in re.findall(r"(?<!:)\b\w+", choice) if name in columns]


@pytest.mark.parametrize("distributed", [False, True], ids=["plain", "citus"])
def test_no_statement_of_postgres_decides(distributed, columns):
    queries = postgres_statements("vault", distributed=distributed)
    found = {name: chosen_on_postgres(queries[name], columns) for name in queries if name not in BLIND}
    assert {name: chosen for name, chosen in found.items() if chosen} == {}


def test_the_exceptions_exist():
    assert set(postgres_statements("vault")) >= BLIND


def test_no_statement_of_sqlite_decides(columns):
    queries = sqlite_statements()
    found = {name: chosen_on_sqlite(queries[name], columns) for name in queries}
    assert {name: chosen for name, chosen in found.items() if chosen} == {}


@pytest.mark.parametrize(
    ("sql", "chosen"),
    [
        ("UPDATE account SET failures = CASE WHEN lease_until IS NULL THEN 1 END", ["lease_until"]),
        ("UPDATE account SET due_at = least(due_at, %(now)b)", ["due_at"]),
        ("WITH a AS (INSERT INTO t SELECT greatest(a.generation, 1) FROM a) SELECT 1", ["generation"]),
        ("UPDATE account SET failures = CASE WHEN %(is_new)b THEN 0 ELSE %(failures)b END", []),
        ("SELECT CASE WHEN failures > 0 THEN 1 END FROM account", []),
    ],
)
def test_a_planted_choice_is_found_on_postgres(sql, chosen, columns):
    assert chosen_on_postgres(sql, columns) == chosen


@pytest.mark.parametrize(
    ("sql", "chosen"),
    [
        ("UPDATE account SET failures = CASE WHEN lease_until IS NULL THEN :failures END", ["lease_until"]),
        ("UPDATE account SET due_at = min(due_at, coalesce(:now, 0))", ["due_at"]),
        ("UPDATE account SET due_at = :due_at WHERE due_at = (SELECT min(x) FROM y)", []),
        ("SELECT max(failures, 1) FROM account", []),
    ],
)
def test_a_planted_choice_is_found_on_sqlite(sql, chosen, columns):
    assert chosen_on_sqlite(sql, columns) == chosen


class Insertions(Visitor):
    """Collects the insertions into the audit log, each as text."""

    def __init__(self):
        self.found = set()

    def visit_InsertStmt(self, ancestors, node):  # noqa: N802
        if node.relation.relname == "audit_event":
            node.withClause = None
            self.found.add(RawStream()(node))


def appending_on_postgres(queries):
    """Return for each different insertion into the audit log the names of the statements that have it."""
    found = {}
    for name in queries:
        insertions = Insertions()
        insertions(parsed(queries[name]))
        for text in insertions.found:
            found.setdefault(text, set()).add(name)
    return found


def test_one_statement_of_postgres_appends_events():
    """Other statements have it as a part, so that a change and its event are one round trip."""
    [(text, names)] = appending_on_postgres(postgres_statements("vault")).items()
    assert "append_events" in names
    on_citus = appending_on_postgres(postgres_statements("vault", distributed=True))
    assert "append_events" in on_citus.pop(text)
    assert set().union(*on_citus.values()) == {
        "insert_events",  # a list of values, which Citus plans quicker
        "copy_tenant_audit_events",  # appends no event: Citus cannot change the tenant of a row
    }


def test_one_statement_of_sqlite_appends_events():
    queries = sqlite_statements()
    assert {name for name in queries if "INTO token_vault_audit_event" in queries[name]} == {"insert_audit_event"}


def test_a_planted_insertion_is_found():
    queries = postgres_statements("vault")
    planted = "WITH a AS (INSERT INTO vault.audit_event (action) SELECT 'token_stored') SELECT 1"
    assert len(appending_on_postgres({name: queries[name] for name in queries} | {"planted": planted})) == 2
