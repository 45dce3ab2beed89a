"""Both stores split rows by shared groups of columns, so that their code contains no column numbers."""

import ast

import pytest
from tests.architecture.tree import SOURCE, python_files

STORES = [path for path in python_files(SOURCE / "vault_adapters" / "stores") if path.name != "columns.py"]


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
