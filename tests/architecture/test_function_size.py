"""Functions have at most 50 lines besides their docstring, because a longer one is hard to read at once."""

import ast

from tests.architecture.tree import SOURCE, python_files

MOST_LINES = 50

ROOTS = {"vault_adapters/composition.py:_run": 70}
"""The composition root lists what it builds; splitting it would only hide in which order things close."""


def sizes(path):
    """Yield the name of each function of a file, and how many lines its body has."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node.name, node.end_lineno - body[0].lineno + 1 if body else 0


def test_no_function_is_too_long():
    found = {
        f"{path.relative_to(SOURCE)}:{name}": lines for path in python_files(SOURCE) for name, lines in sizes(path)
    }
    assert len(found) > 1000
    assert {name: lines for name, lines in found.items() if lines > ROOTS.get(name, MOST_LINES)} == {}
