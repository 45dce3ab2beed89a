"""The domain imports attrs and a few harmless modules, and reads no clock.

A list of forbidden modules refuses only what somebody thought of; this allow-list also refuses everything else.
"""

import pytest
from tests.architecture.purity import impurities
from tests.architecture.tree import SOURCE, python_files

LOADER = SOURCE / "vault_domain" / "lazy.py"
DOMAIN = [path for path in python_files(SOURCE / "vault_domain") if path != LOADER]


@pytest.mark.parametrize("path", DOMAIN, ids=lambda path: str(path.relative_to(SOURCE)))
def test_module_is_pure(path):
    assert impurities(path.read_text(encoding="utf-8")) == []


def test_only_the_loader_of_public_names_loads_modules():
    found = impurities(LOADER.read_text(encoding="utf-8"))
    assert [each.partition(": ")[2] for each in found] == ["imports sys", "imports importlib.import_module"]


def test_the_domain_was_found():
    assert len(DOMAIN) > 10


@pytest.mark.parametrize(
    ("source", "finding"),
    [
        ("import asyncio", "line 1: imports asyncio"),
        ("import os.path", "line 1: imports os.path"),
        ("import json, socket", "line 1: imports socket"),
        ("from time import time", "line 1: imports time.time"),
        ("from cryptography.fernet import Fernet", "line 1: imports cryptography.fernet.Fernet"),
        ("from vault_adapters import open_vault", "line 1: imports vault_adapters.open_vault"),
        ("from urllib import request", "line 1: imports urllib.request"),
        ("import a_package_of_tomorrow", "line 1: imports a_package_of_tomorrow"),
        ("def f():\n    import sqlite3", "line 2: imports sqlite3"),
        ("from . import token", "line 1: imports relatively"),
        ("from datetime import datetime\nx = datetime.now()", "line 2: uses datetime.now"),
        (
            "import datetime as d\nimport datetime\nx = datetime.datetime.utcnow",
            "line 3: uses datetime.datetime.utcnow",
        ),
        ("from datetime import date\nx = date.today()", "line 2: uses date.today"),
        ("from uuid import uuid4", "line 1: uses uuid.uuid4"),
        ("text = open('file').read()", "line 1: uses open"),
        ("clock = __import__('time')", "line 1: uses __import__"),
    ],
)
def test_an_impurity_is_found(source, finding):
    assert impurities(source) == [finding]


@pytest.mark.parametrize(
    "source",
    [
        "import attrs",
        "from collections.abc import Sequence",
        "from urllib.parse import urlsplit",
        "from urllib import parse",
        "from datetime import UTC, datetime\ndef due(now: datetime, expires_at: datetime): return now >= expires_at",
        "def open_(vault): return vault.open()",
        "x = self_.clock.now()",
    ],
)
def test_the_pure_is_left_alone(source):
    assert impurities(source) == []
