"""The import contracts hold, and each of them breaks when it should."""

import os
import shutil
import subprocess
import sys

import pytest
from tests.architecture.tree import ROOT

LINT_IMPORTS = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]


def lint_imports(tree):
    """Check a tree's src against its own contracts; whether they hold, and the report."""
    environ = {**os.environ, "PYTHONPATH": str(tree / "src"), "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(LINT_IMPORTS, cwd=tree, env=environ, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def append(source, module, line):
    """Add a line to a module; where there is no such module or package, make it."""
    path = source / module
    path.parent.mkdir(parents=True, exist_ok=True)
    for package in path.relative_to(source).parents[:-1]:
        (source / package / "__init__.py").touch()
    with path.open("a", encoding="utf-8") as text:
        text.write(f"\n{line}\n")


@pytest.fixture
def copy(tmp_path):
    """Give a copy of the tree that may be spoilt."""
    shutil.copy(ROOT / ".importlinter", tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_contracts_hold():
    held, report = lint_imports(ROOT)
    assert held, report


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("vault_domain/token.py", "import vault_domain.services", "The domain: use cases"),
        ("vault_domain/errors.py", "import vault_domain.account", "The domain: use cases"),
        ("vault_domain/utils.py", "", "The domain: use cases"),
        ("vault_domain/policy.py", "import asyncio", "The domain knows no adapter"),
        ("vault_domain/services/spoilt.py", "import vault_adapters.config", "The domain knows no adapter"),
        ("vault_adapters/helpers.py", "", "The adapters"),
        ("vault_adapters/stores/sqlite/spoilt.py", "import vault_adapters.crypto", "The adapters"),
        ("vault_adapters/crypto/spoilt.py", "import vault_adapters.composition", "The adapters"),
        ("vault_adapters/sync.py", "import vault_adapters.worker", "The adapters"),
        (
            "vault_adapters/stores/sqlite/spoilt.py",
            "import vault_adapters.stores.postgres",
            "Stores know what they share",
        ),
        ("vault_adapters/clients/spoilt.py", "import vault_adapters.stores", "Clients use the public"),
        ("vault_adapters/clients/spoilt.py", "import vault_domain.token", "Clients use the public"),
        ("vault_adapters/composition.py", "import psycopg", "Only the Postgres store"),
        ("vault_adapters/stores/sqlite/spoilt.py", "import psycopg_pool", "Only the Postgres store"),
        ("vault_adapters/sync.py", "import sqlite3", "Only the SQLite store"),
        ("vault_adapters/worker.py", "import cryptography.fernet", "Only vault_adapters.crypto"),
        ("vault_adapters/composition.py", "import boto3", "Only vault_adapters.crypto"),
        ("vault_adapters/crypto/spoilt.py", "import httpx2", "Only providers and clients"),
        ("vault_adapters/sync.py", "import google.auth", "Only providers and clients"),
        ("vault_adapters/worker.py", "import rich.console", "Only the command line"),
        ("vault_adapters/composition.py", "import environ", "Only vault_adapters.environment"),
    ],
)
def test_a_violation_is_found(copy, module, line, contract):
    imported = line.removeprefix("import ").replace(".", "/")
    if imported.startswith("vault_") and not (copy / "src" / imported).exists():
        append(copy / "src", f"{imported}.py", "")
    append(copy / "src", module, line)

    held, report = lint_imports(copy)

    assert not held
    verdicts = [text for text in report.splitlines() if " KEPT" in text or " BROKEN" in text]
    assert any(text.startswith(contract) and " BROKEN" in text for text in verdicts), report
