"""The import contracts hold, and each of them breaks when it should."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from tests.architecture.tree import ROOT

LINT_IMPORTS = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]


def lint_imports(tree):
    """Check a tree's src against its own contracts; return whether they hold, and the report."""
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tree / "src"), str(ROOT)]),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    done = subprocess.run(LINT_IMPORTS, cwd=tree, env=environ, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


VIOLATIONS = [
    ("vault_domain/entities/token.py", "import vault_domain.services", "The domain's rooms"),
    ("vault_domain/rules/refresh.py", "import vault_domain.ports.clock", "The domain's rooms"),
    ("vault_domain/ports/clock.py", "import vault_domain.facade.vault", "The domain's rooms"),
    ("vault_domain/services/spoilt.py", "import vault_domain.facade.vault", "The domain's rooms"),
    ("vault_domain/entities/errors.py", "import vault_domain.entities.account", "Entities"),
    ("vault_domain/utils.py", "", "The domain's rooms"),
    ("vault_domain/entities/helpers.py", "", "Entities"),
    ("vault_domain/rules/helpers.py", "", "Rules"),
    ("vault_domain/rules/freshness.py", "import vault_domain.rules.refresh", "Rules"),
    ("vault_domain/services/helpers.py", "", "Use cases"),
    ("vault_domain/services/tokens/token_service.py", "import vault_domain.services.refresh.access", "Use cases"),
    ("vault_domain/facade/helpers.py", "", "The facade"),
    ("vault_domain/rules/freshness.py", "import asyncio", "The domain knows no adapter"),
    ("vault_domain/services/spoilt.py", "import vault_adapters.runtime", "The domain knows no adapter"),
    ("vault_adapters/helpers.py", "", "The adapters"),
    ("vault_adapters/stores/sqlite/spoilt.py", "import vault_adapters.crypto", "The adapters"),
    ("vault_adapters/crypto/spoilt.py", "import vault_adapters.composition", "The adapters"),
    ("vault_adapters/runtime/spoilt.py", "import vault_adapters.stores", "The adapters"),
    (
        "vault_adapters/stores/sqlite/spoilt.py",
        "import vault_adapters.stores.postgres",
        "Stores know what they share",
    ),
    ("vault_adapters/clients/spoilt.py", "import vault_adapters.stores", "Clients use the public"),
    ("vault_adapters/clients/spoilt.py", "import vault_domain.entities.token", "Clients use the public"),
    ("vault_adapters/composition.py", "import psycopg", "Third-party packages"),
    ("vault_adapters/stores/sqlite/spoilt.py", "import psycopg_pool", "Third-party packages"),
    ("vault_adapters/sync/vault.py", "import sqlite3", "Third-party packages"),
    ("vault_adapters/runtime/worker.py", "import cryptography.fernet", "Third-party packages"),
    ("vault_adapters/composition.py", "import boto3", "Third-party packages"),
    ("vault_adapters/crypto/spoilt.py", "import psycopg", "Third-party packages"),
    ("vault_adapters/sync/vault.py", "import google.auth", "Third-party packages"),
    ("vault_adapters/runtime/worker.py", "import rich.console", "Third-party packages"),
    ("vault_adapters/composition.py", "import a_package_of_tomorrow", "Third-party packages"),
    ("vault_domain/rules/freshness.py", "import anyio", "Third-party packages"),
]


def append(source, module, line):
    """Add a line to a module; where there is no such module or package, make it."""
    path = source / module
    path.parent.mkdir(parents=True, exist_ok=True)
    for package in path.relative_to(source).parents[:-1]:
        (source / package / "__init__.py").touch()
    with path.open("a", encoding="utf-8") as text:
        text.write(f"\n{line}\n")


def broken_contracts(report):
    """Return the part of a report about each contract that is broken, by the contract's name."""
    _, broken, details = report.partition("Broken contracts\n")
    assert broken, report
    parts = re.split(r"^(\S.*)\n-{3,}\n", details, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def named(module, line):
    """Return a pattern for the place at which a report names a violation: an import, or a module without a layer."""
    dotted = re.escape(module.removesuffix(".py").replace("/", "."))
    if not line:
        return rf"^- {dotted}$"
    imported = line.removeprefix("import ")
    return rf"^-\s+{dotted} -> {re.escape(imported)} |^{dotted} imports {re.escape(imported.partition('.')[0])},"


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Check a copy of the tree with all violations in it; give the report on each broken contract.

    A check of the whole tree takes a quarter of a second, and names each violation. So one check serves all tests.
    """
    tree = tmp_path_factory.mktemp("spoilt")
    shutil.copy(ROOT / ".importlinter", tree)
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for module, line, _ in VIOLATIONS:
        append(tree / "src", module, line)
    held, report = lint_imports(tree)
    assert not held
    return broken_contracts(report)


def test_the_contracts_hold():
    held, report = lint_imports(ROOT)
    assert held, report


@pytest.mark.parametrize(("module", "line", "contract"), VIOLATIONS)
def test_a_violation_is_found(broken, module, line, contract):
    [report] = [text for name, text in broken.items() if name.startswith(contract)]
    assert re.search(named(module, line), report, re.MULTILINE), report
