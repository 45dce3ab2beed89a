"""What the test command leaves out runs in a session, and CI runs the session."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPTIONS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
LEFT_OUT = re.search(r"not \(([\w ]+)\)", OPTIONS["addopts"])[1].split(" or ")
# The long tests run before a release, and the simulator's session has another name than its marker.
SESSIONS = {name: {"simulation": "simulate"}.get(name, name) for name in LEFT_OUT}


def test_the_markers_are_those_that_are_left_out():
    markers = {line.partition(":")[0] for line in OPTIONS["markers"]}
    assert {*LEFT_OUT} == markers - {"real_scrypt"}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_marker_has_a_session_that_ci_runs(name):
    session = SESSIONS[name]
    assert f"\ndef {session}(session):" in (ROOT / "noxfile.py").read_text(encoding="utf-8")
    assert f"`nox -s {session}`" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    together = re.search(r"^for session in ([\w ]+); do\n  step .* nox_in_venv \"\$session\"$", run, re.MULTILINE)[1]
    assert name == "soak" or session in together.split() or f"nox_in_venv {session}\n" in run
