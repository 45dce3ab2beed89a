"""A pytest plugin that stops each class at its first failure.

It writes these failures to the file that the environment variable `FIRST_FAILURES` names.
"""

import json
import os
from pathlib import Path

import pytest

_failed = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    _failed.setdefault(item.cls.__name__, None)
    if _failed[item.cls.__name__] is not None:
        pytest.skip("its class has failed")


def pytest_runtest_makereport(item, call):
    if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
        _failed[item.cls.__name__] = _failed[item.cls.__name__] or item.name


def pytest_sessionfinish():
    Path(os.environ["FIRST_FAILURES"]).write_text(json.dumps(_failed))
