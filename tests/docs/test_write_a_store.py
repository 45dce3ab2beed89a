"""The guide on stores: its files are run, and it names every part of the suite and every attribute of a store."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vault_adapters.composition import Store
from vault_adapters.testing.contract import PARTS

pytestmark = pytest.mark.pages

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "write-a-store.md").read_text()
EMPTY, TESTS, USING = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

DICT_STORE = """
from tests.examples.dict_store import open_dict_store
from tests.examples.dict_store.database import DictDatabase

def open_my_store(database, clock):
    return open_dict_store(database.setdefault("it", DictDatabase()), clock)
"""
RUN = """
import asyncio
from datetime import UTC, datetime
from using import main

class Clock:
    def now(self):
        return datetime.now(UTC)

asyncio.run(main({}, Clock()))
"""


def run(folder, *argv):
    path = os.pathsep.join([str(folder), str(ROOT), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTEST_ADDOPTS": ""}
    return subprocess.run([sys.executable, *argv], cwd=folder, env=environment, capture_output=True, text=True)


def run_part(folder, part):
    return run(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_store.py", "-k", part)


def test_the_empty_store_is_where_one_begins(tmp_path):
    (tmp_path / "my_store.py").write_text(EMPTY)
    (tmp_path / "test_my_store.py").write_text(TESTS)
    done = run_part(tmp_path, "KeyTableCases")
    assert done.returncode == 1, done.stderr
    assert "AttributeError" in done.stdout
    assert "passed" not in done.stdout


def test_a_whole_store_turns_the_parts_green_and_opens_a_vault(tmp_path):
    (tmp_path / "my_store.py").write_text(DICT_STORE)
    (tmp_path / "test_my_store.py").write_text(TESTS)
    done = run_part(tmp_path, "KeyTableCases or ReserveCases")
    assert done.returncode == 0, done.stdout
    (tmp_path / "using.py").write_text(USING)
    done = run(tmp_path, "-c", RUN)
    assert done.returncode == 0, done.stderr


def test_the_parts_stand_in_their_order():
    names = [part.__name__ for part in PARTS]
    rows = [line for line in PAGE.splitlines() if line.startswith("| `") and "Cases`" in line]
    named = [name for row in rows for name in re.findall(r"`(\w+Cases)`", row.split("|")[1])]
    assert named == names


def test_every_attribute_has_its_place():
    attributes = [name for name, member in vars(Store).items() if isinstance(member, property)]
    for name in attributes:
        assert f"| `{name}` |" in PAGE


def test_it_is_read_at_one_go():
    assert len(PAGE.split()) <= 1500
