"""Plants known bugs one at a time; the simulation must find each within a minute.

``python -m tests.simulation.planted`` plants all of them, or those whose names begin as its arguments say.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from tests.mutants.runs import copy_of

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
SECONDS = 60.0
_RULE = re.compile(r"^    \d+: (.*?): .*$", re.MULTILINE)
_SUMS = re.compile(r"failed; (\d+) account-days.*processor (\d+) and")


def bugs(names=()):
    """Return the bugs, or those whose names begin with one of ``names``."""
    listed = tomllib.loads((FOLDER / "planted.toml").read_text(encoding="utf-8"))["bug"]
    return [bug for bug in listed if not names or any(bug["name"].startswith(name) for name in names)]


def stale(bug, root=ROOT):
    """Return the edits of a bug that do not fit the source."""
    return [edit["old"] for edit in bug["edits"] if (root / edit["file"]).read_text().count(edit["old"]) != 1]


def find(bug, tree, seconds=SECONDS):
    """Plant a bug in a tree and simulate; return the first line about it, or None, and the seconds that it took."""
    for edit in bug["edits"]:
        path = tree / edit["file"]
        path.write_text(path.read_text().replace(edit["old"], edit["new"]))
    kinds = [word for kind in bug["kinds"] for word in ("--kind", kind)]
    kinds += ["--fault", bug["fault"]] if "fault" in bug else []
    command = [sys.executable, "-W", "ignore", "-m", "tests.simulation", "--seeds", "100000", "--seed", "0", *kinds]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONUNBUFFERED": "1"}
    started = time.monotonic()
    with subprocess.Popen(
        [*command, "--jobs", "1", "--seconds", str(seconds), "--until", *bug["finds"]],
        cwd=tree, env=environment, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        output, _ = process.communicate()
    found = [line.strip() for line in output.splitlines() if _is_about(line, bug["finds"])]
    return (found[0] if found else None), _seconds_of(output) or time.monotonic() - started


def _seconds_of(output):
    """Return the processor seconds that the worlds took; elapsed time would count other programs too."""
    match = _SUMS.search(output)
    return match and float(match[1]) / float(match[2])


def _is_about(line, rules):
    match = _RULE.match(line)
    return match is not None and match[1] in rules


def main(names):
    """Return 0 if every bug was found."""
    missed = 0
    for bug in bugs(names):
        gone = stale(bug)
        if gone:
            print(f"stale     {bug['name']}: {gone[0]}")
            missed += 1
            continue
        with copy_of(ROOT) as tree:
            line, took = find(bug, tree)
        missed += line is None
        print(f"{'found' if line else 'MISSED':8} {took:5.1f} s  {bug['name']}\n    {line or ''}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
