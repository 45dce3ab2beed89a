"""Both stores read and write rows by shared groups of columns, so that a plain column is listed in one place."""

import ast
import re

import attrs
import pytest
from tests.architecture.tree import SOURCE, python_files

from vault_adapters.stores import columns
from vault_adapters.stores.columns import PLAIN, TOKEN, PlainColumn, with_plain
from vault_domain.entities.token import TokenInfo

STORES = [path for path in python_files(SOURCE / "vault_adapters" / "stores") if path.name != "columns.py"]
WRITERS = {"rows.py", "account_columns.py", "account_states.py", "importing.py", "citus_statements.py"}


def numbered_columns(source: str) -> list[str]:
    """Name each place that takes a column of a row by its number, or a slice of a row."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Subscript):
            continue
        is_row = isinstance(node.value, ast.Name) and node.value.id == "row"
        is_row_of_rows = isinstance(node.value, ast.Subscript) and _is_rows(node.value.value)
        if is_row or is_row_of_rows:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def _is_rows(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "rows"


@pytest.mark.parametrize("path", STORES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_column_has_a_number(path):
    assert numbered_columns(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("row[3]", ["line 1: row[3]"]),
        ("row[:4]", ["line 1: row[:4]"]),
        ("rows[0][TIME]", ["line 1: rows[0][TIME]"]),
        ("row[-1]", ["line 1: row[-1]"]),
        ("rows[0]", []),
        ("token, key, _ = LISTED.split(row)", []),
    ],
)
def test_a_number_is_found(source, found):
    assert numbered_columns(source) == found


INSERTION = re.compile(r"INSERT INTO (?:\{\{schema\}\}\.token|token_vault_token)(?: AS t)? \(([^)]*)\)")
STATEMENTS = {
    path: path.read_text(encoding="utf-8")
    for path in sorted((SOURCE / "vault_adapters" / "stores").rglob("*.sql"))
    if path.parent.name != "migrations"
}


def test_a_token_has_its_columns_in_the_order_of_its_attributes():
    names = [field.name for field in attrs.fields(TokenInfo) if field.name != "key"]
    assert [column.split(".")[1] for column in TOKEN] == names, "the stores' `token_info` passes them by place"
    assert [column.name for column in PLAIN] == names[-len(PLAIN) :]


def test_each_statement_that_stores_a_token_takes_the_plain_columns_from_their_list():
    inserted = [listed for text in STATEMENTS.values() for listed in INSERTION.findall(text)]
    assert len(inserted) >= 6
    for listed in inserted:
        assert "{{plain $name}}" in listed or "{{written_columns}}" in listed
        assert {column.name for column in PLAIN}.isdisjoint(re.findall(r"\w+", listed))


@pytest.mark.parametrize("column", PLAIN, ids=lambda column: column.name)
@pytest.mark.parametrize("form", ["excluded.{}", "%(w_{})b", "given_{}", "stored_{}", "one.{}", '"{}":'])
def test_no_statement_and_no_row_writer_names_a_plain_column(column, form):
    named = re.compile(rf"(?<!\w){re.escape(form.format(column.name))}(?!\w)")
    texts = STATEMENTS | {path: path.read_text(encoding="utf-8") for path in STORES if path.name in WRITERS}
    assert len(texts) > len(STATEMENTS)
    assert [str(path) for path, text in texts.items() if named.search(text)] == []


def test_the_lists_of_a_statement_have_an_item_for_each_plain_column(monkeypatch):
    monkeypatch.setattr(columns, "PLAIN", (PlainColumn("client", "bytea"), PlainColumn("note", "text")))
    assert with_plain("({{plain $name}}) VALUES ({{plain %($name)b::$type[]}})") == (
        "(client, note) VALUES (%(client)b::bytea[], %(note)b::text[])"
    )
