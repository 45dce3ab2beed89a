"""mypy and pyright accept a host's right calls and refuse each wrong one; the recipes pass both."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.peers

HOST = Path(__file__).with_name("host.py")
LINES = HOST.read_text().splitlines()
WRONG = {number for number, line in enumerate(LINES, 1) if line.endswith("# refused")}

RECIPES = HOST.parents[2] / "docs" / "how-to" / "recipes"
TYPED = [
    *(RECIPES / f"{name}_fastapi.py" for name in ("connect", "dashboard", "probes", "service", "transaction")),
    *(RECIPES / f"{name}.py" for name in ("account_life", "fastapi_app", "host_tests", "service_tests", "webhooks")),
    RECIPES / "transaction_sqlalchemy.py",
]
"""The recipes that a host with strict type checkers copies."""


def run(*command):
    root = HOST.parents[2]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=root, timeout=300)
    return done.stdout


def test_mypy():
    said = run("mypy", "--strict", "--no-error-summary", "--follow-imports", "silent", str(HOST), *map(str, TYPED))
    found = {int(number) for number in re.findall(r"host\.py:(\d+): error", said)}
    assert (found, len(re.findall(": error", said))) == (WRONG, len(WRONG)), said


def test_pyright(tmp_path):
    settings = tmp_path / "pyrightconfig.json"
    sources = str(HOST.parents[2] / "src")
    include, paths = [str(HOST), *map(str, TYPED)], [sources, str(RECIPES)]
    settings.write_text(json.dumps({"include": include, "typeCheckingMode": "standard", "extraPaths": paths}))
    options = ["--outputjson", "--level", "error", "--pythonpath", sys.executable]
    said = json.loads(run("basedpyright", *options, "-p", str(settings)))
    found = {(Path(each["file"]).name, each["range"]["start"]["line"] + 1) for each in said["generalDiagnostics"]}
    assert found == {(HOST.name, line) for line in WRONG}, said["generalDiagnostics"]
