"""A wheel holds the packages and nothing else."""

import pytest
from tests.release.wheel import problems, source_files

METADATA = {
    f"token_vault-1.dist-info/{name}": b""
    for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
}
SOURCE = source_files()


def test_the_source_makes_a_right_wheel():
    assert {"vault_domain/py.typed", "vault_adapters/stores/sqlite/sql/tokens.sql"} <= SOURCE.keys()
    assert list(problems({**SOURCE, **METADATA}, SOURCE)) == []


@pytest.mark.parametrize("name", ["vault_domain/py.typed", "vault_adapters/stores/postgres/tenants.sql"])
def test_a_missing_file_is_a_problem(name):
    held = {other: content for other, content in SOURCE.items() if other != name}
    assert list(problems({**held, **METADATA}, SOURCE)) == [f"{name} is missing"]


def test_the_licence_must_be_there():
    held = {name: content for name, content in METADATA.items() if "LICENSE" not in name}
    assert list(problems({**SOURCE, **held}, SOURCE)) == ["licenses/LICENSE is missing beside the packages"]


@pytest.mark.parametrize("name", ["tests/conftest.py", "README.md", "token_vault-1.dist-info/pwn.pth", "a.pth"])
def test_what_belongs_to_no_package_is_a_problem(name):
    assert list(problems({**SOURCE, **METADATA, name: b""}, SOURCE)) == [f"{name} belongs to neither package"]


def test_a_file_that_was_changed_or_added_is_a_problem():
    held = {**SOURCE, **METADATA, "vault_domain/__init__.py": b"import os", "vault_domain/extra.py": b""}
    assert list(problems(held, SOURCE)) == [
        "vault_domain/extra.py is not in src",
        "vault_domain/__init__.py differs from src",
    ]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("vault_adapters/runtime/test_journal.py", b"", "is a test"),
        ("vault_adapters/tests/rows.py", b"", "is a test"),
        ("vault_adapters/stores/dump.db", b"", "is not a Python, SQL or py.typed file"),
        ("vault_adapters/crypto/intruder.py", b"", "belongs to the demo but is outside of vault_adapters/cli"),
        ("vault_adapters/demo/run.py", b"", "belongs to the demo but is outside of vault_adapters/cli"),
        ("vault_adapters/runtime/more.py", b"from vault_adapters.cli import demo", "imports the demo"),
        ("vault_adapters/runtime/more.py", b"import vault_adapters.cli.demo.intruder", "imports the demo"),
    ],
)
def test_what_must_not_be_in_src_is_not_released(name, content, problem):
    source = {**SOURCE, name: content}
    assert list(problems({**source, **METADATA}, source)) == [f"{name} {problem}"]
