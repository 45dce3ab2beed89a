"""mypy and pyright accept a host's right calls and refuse each wrong one."""

import json
import re
import subprocess
import sys
from pathlib import Path

HOST = Path(__file__).with_name("host.py")
LINES = HOST.read_text().splitlines()
WRONG = {number for number, line in enumerate(LINES, 1) if line.endswith("# refused")}


def run(*command):
    root = HOST.parents[2]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=root, timeout=300)
    return done.stdout


def test_mypy():
    said = run("mypy", "--strict", "--no-error-summary", "--follow-imports", "silent", str(HOST))
    found = {int(number) for number in re.findall(r"host\.py:(\d+): error", said)}
    assert found == WRONG, said


def test_pyright(tmp_path):
    settings = tmp_path / "pyrightconfig.json"
    sources = str(HOST.parents[2] / "src")
    settings.write_text(json.dumps({"include": [str(HOST)], "typeCheckingMode": "standard", "extraPaths": [sources]}))
    options = ["--outputjson", "--level", "error", "--pythonpath", sys.executable]
    said = json.loads(run("basedpyright", *options, "-p", str(settings)))
    found = {each["range"]["start"]["line"] + 1 for each in said["generalDiagnostics"]}
    assert found == WRONG, said["generalDiagnostics"]
