"""The contract finds wrong stores: a store with a missing or a wrong method fails it."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.contract.wrong_stores import METHODS, MISTAKES
from tests.support.store_ports import port_classes

from vault_adapters.testing import contract
from vault_adapters.testing.contract import PARTS, SharedStoreContract

pytestmark = pytest.mark.tools

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def first_failures(tmp_path_factory):
    """Run every wrong store against the part of the suite that must reject it; give the first failure of each."""
    report = tmp_path_factory.mktemp("suite") / "first_failures.json"
    options = ["-q", "-p", "tests.contract.first_failures", "-p", "no:cacheprovider", "-p", "no:xdist"]
    subprocess.run(
        [sys.executable, "-m", "pytest", *options, "tests/contract/wrong_stores.py"],
        cwd=ROOT,
        env={**os.environ, "FIRST_FAILURES": str(report), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        timeout=300,
    )
    return json.loads(report.read_text())


def test_every_method_of_every_port_is_needed(first_failures):
    unneeded = [
        f"{port}.{method}"
        for port, methods in METHODS.items()
        for method in methods
        if first_failures[f"TestWithout_{port}_{method}"] is None
    ]
    assert unneeded == []


def test_plausible_mistakes_are_found(first_failures):
    assert [wrong.__name__ for wrong in MISTAKES if first_failures[f"TestMistake_{wrong.__name__}"] is None] == []


def test_all_ports_and_methods_are_listed():
    def methods_of(port):
        return {name for name, _ in inspect.getmembers(port, inspect.isfunction) if not name.startswith("_")}

    assert {name: set(methods) for name, methods in METHODS.items()} == {
        name: methods_of(port) for name, port in port_classes().items()
    }


def test_the_parts_are_the_suite():
    """`PARTS` must list every part, and `_MODULES` every module, so that pytest rewrites the module's assertions."""
    cases = {base for base in SharedStoreContract.__mro__ if any(name.startswith("test_") for name in vars(base))}
    assert set(PARTS) == cases
    assert {part.__module__.rpartition(".")[2] for part in PARTS} <= set(contract._MODULES)
    folder = Path(contract.__file__).parent
    assert set(contract._MODULES) == {path.stem for path in folder.glob("*.py")} - {"__init__"}
    names = [name for part in PARTS for name in vars(part) if name.startswith("test_")]
    assert len(names) == len(set(names)), "two cases have the same name, so only one of them runs"
