"""The page about the architecture names only files that exist, and names those that each kind of change touches."""

import ast
import re
from pathlib import Path

import pytest

from vault_adapters.stores.columns import PLAIN

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
CHANGES = [
    "a store",
    "a provider",
    "a key service",
    "a refresh rule",
    "a token column",
    "an audit event field",
    "a command",
    "a metric",
    "an error",
    "a configuration field",
]
ROOTS = ("src/", "docs/", "tests/")


def paths_in(text):
    """Return the paths of the repository that stand in backticks in a text."""
    files = {path.name for path in ROOT.iterdir() if path.is_file() and path.name != ".git"}
    return [code for code in re.findall(r"`([^`\n]+)`", text) if code.startswith(ROOTS) or code in files]


def section(title):
    return PAGE.split(f"\n### ... {title}\n")[1].split("\n### ")[0]


@pytest.mark.parametrize("page", [PAGE, CONTRIBUTING], ids=["architecture.md", "CONTRIBUTING.md"])
def test_every_path_exists(page):
    paths = paths_in(page)
    assert len(paths) > 15
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_change_has_a_section_that_names_files():
    assert re.findall(r"^### \.\.\. (.+)$", PAGE, re.MULTILINE) == CHANGES
    for change in CHANGES:
        assert len(paths_in(section(change))) >= 3, change


def test_every_change_has_a_checklist():
    for change in CHANGES:
        title = f"\n### {change[0].upper()}{change[1:]}\n"
        assert title in CONTRIBUTING
        assert "- [ ] " in CONTRIBUTING.split(title)[1].split("\n#")[0]


def test_every_room_and_folder_stands_on_the_page():
    folders = [path for package in (ROOT / "src").iterdir() for path in package.iterdir()]
    named = paths_in(PAGE)
    missing = [
        str(path.relative_to(ROOT))
        for path in folders
        if (path / "__init__.py").exists() and str(path.relative_to(ROOT)) not in named
    ]
    assert missing == []


def test_every_statement_that_appends_or_empties_events_is_named():
    touching = re.compile(r"(INSERT INTO|UPDATE) \S*audit_event SET tenant_id|INSERT INTO \S*audit_event")
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "src").rglob("*.sql")
        if touching.search(path.read_text()) and path.parent.name != "migrations"
    }
    assert len(files) > 4
    assert files - set(paths_in(section("an audit event field"))) == set()


def test_every_port_that_a_store_implements_is_named():
    protocol = (ROOT / "src/vault_adapters/stores/port.py").read_text().split("class Store(")[1].split("\n\n\n")[0]
    ports = set(re.findall(r"-> (\w+):", protocol))
    files = [path for path in paths_in(section("a store")) if "/ports/" in path or path.endswith("/account_changes.py")]
    named = [(ROOT / path).read_text() for path in files]
    assert {port for port in ports if not any(re.search(rf"class {port}\b", text) for text in named)} == set()
    assert len(ports) == len(named)


MOST_FILES = 16
"""Largest number of files that a token column touches, documents and tests included."""


def test_a_token_column_touches_few_files():
    rows = [line for line in section("a token column").splitlines() if line.startswith("|")]
    files = paths_in("\n".join(rows))
    assert len(set(files)) == len(files) == MOST_FILES, "each folder of migrations counts as one new file"
    stores = [path for path in files if "/stores/" in path and not path.endswith("/migrations")]
    assert stores == ["src/vault_adapters/stores/columns.py"], "the stores list a token's columns in one place"


def test_every_file_that_hands_on_what_is_given_with_a_token_is_named():
    """Those that make a token's metadata, a draft or a write; the stores do so from the list of columns."""
    made = {"TokenInfo", "TokenDraft", "TokenWrite", "ImportedWrite"}
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "src").rglob("*.py")
        if made & called_in(path) and not {"stores", "testing"} & set(path.relative_to(ROOT).parts)
    }
    assert len(files) > 5
    assert files - set(paths_in(section("a token column"))) == set()


def called_in(path):
    """Return the names that a module calls."""
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return {name.id for name in calls if isinstance(name, ast.Name)}


@pytest.mark.parametrize("column", PLAIN, ids=lambda column: column.name)
def test_every_file_that_sets_or_keeps_a_plain_column_is_named(column):
    """Each file of the domain that reads the attribute of a draft or write, or passes it on under its name."""
    passed = re.compile(rf"\b{column.name}=(?:self|write|draft|token_set|old)\.{column.name}\b")
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "src").rglob("*.py") if passed.search(path.read_text())}
    assert files
    assert files - set(paths_in(section("a token column"))) == set()
