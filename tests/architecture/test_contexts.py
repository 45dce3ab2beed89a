"""A value is decrypted in the context of the key that was asked for: no use case takes a context from a row."""

import ast

import pytest
from tests.architecture.tree import SOURCE, python_files

SERVICES = python_files(SOURCE / "vault_domain" / "services")
OPENERS = {"open", "hand_out", "checked"}
READERS = {("_ledger", "read"): "checked_snapshot", ("_accounts", "read"): "checked_snapshot"}
FROM_A_ROW = {"row", "rows", "info", "record", "snapshot", "stored", "write", "sealed", "reading", "answer", "found"}


def contexts_from_rows(source: str) -> list[str]:
    """Name each call that opens a value and whose first argument comes from a row."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr not in OPENERS:
            continue
        context = node.args[0] if node.args else node
        # A token's kind may come from the row, because it only chooses among the account's keys.
        names = {
            name.id
            for name in ast.walk(context)
            if isinstance(name, ast.Name) and not _is_kind(context, name) and name.id in FROM_A_ROW
        }
        if names or not node.args:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def _is_kind(context: ast.AST, name: ast.Name) -> bool:
    kinds = [node for node in ast.walk(context) if isinstance(node, ast.Attribute) and node.attr == "kind"]
    return any(name in ast.walk(kind) for kind in kinds)


def unchecked_reads(source: str) -> list[str]:
    """Name each read of an account whose answer is not compared with the account that was asked for."""
    tree = ast.parse(source)
    checked = {
        id(node.value)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in READERS.values()
        for node in ast.walk(call)
        if isinstance(node, ast.Await)
    }
    names_checked = {
        name.id
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in READERS.values()
        for name in call.args
        if isinstance(name, ast.Name)
    }
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Await) or not _is_read(node.value) or id(node.value) in checked:
            continue
        targets = [
            name.id
            for assignment in ast.walk(tree)
            if isinstance(assignment, ast.Assign) and assignment.value is node
            for target in assignment.targets
            for name in ast.walk(target)
            if isinstance(name, ast.Name)
        ]
        if not names_checked.intersection(targets):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def _is_read(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Attribute)
        and (node.func.value.attr, node.func.attr) in READERS
    )


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_context_comes_from_a_row(path):
    assert contexts_from_rows(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_account_that_was_read_is_compared_with_the_question(path):
    assert unchecked_reads(path.read_text(encoding="utf-8")) == []


def test_there_are_such_calls():
    sources = [path.read_text(encoding="utf-8") for path in SERVICES]
    assert sum(source.count("checked_snapshot(") for source in sources) > 5
    assert sum(source.count("_opener.open(") + source.count(".hand_out(") for source in sources) > 5


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("self._opener.open(row.info.key, row, now)", ["line 1: self._opener.open(row.info.key, row, now)"]),
        ("cipher.open(write.key, write.sealed)", ["line 1: cipher.open(write.key, write.sealed)"]),
        ("self._tokens.hand_out(row, now)", ["line 1: self._tokens.hand_out(row, now)"]),
        ("self._opener.open(account.key(info.key.kind), row, now)", []),
        ("self._opener.open(key, row, now)", []),
    ],
)
def test_a_context_from_a_row_is_found(source, found):
    assert contexts_from_rows(source) == found


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("async def f(self): x = await self._ledger.read(account)", 1),
        ("async def f(self): x = checked_snapshot(account, await self._ledger.read(account))", 0),
        ("async def f(self):\n    x = await self._accounts.read(account)\n    y = checked_snapshot(account, x)", 0),
        ("async def f(self):\n    x = await self._accounts.read(account)\n    return x", 1),
    ],
)
def test_an_unchecked_read_is_found(source, count):
    assert len(unchecked_reads(source)) == count
