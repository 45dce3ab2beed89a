"""Changes the domain's rules and transitions in each way that mutmut knows; no change may survive the domain's tests.

`survivors.toml` lists the changes that may, and says why; a listed change that a test notices now is shown, so that its
line can go. Names that are given restrict the run to some modules.
"""

import ast
import difflib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from itertools import chain
from pathlib import Path

from mutmut.mutation.file_mutation import mutate_file_contents

ROOT = Path(__file__).resolve().parents[2]
LISTED = Path(__file__).with_name("survivors.toml")
DOMAIN = "src/vault_domain"
_MARGIN = 40
PYTEST = (
    *(sys.executable, "-m", "pytest", "-q", "-s", "-c", os.devnull, "--rootdir", ".", "--confcutdir", "tests/domain"),
    *("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "tests.mutation.forks", "tests/domain"),
)


def main(modules):
    """Return 0 if all changes that survive are listed."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = Path(folder)
        for part in ("src", "tests/domain", "tests/mutation"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        names = list(chain.from_iterable(_change(tree, path) for path in _paths(modules)))
        results = _run(tree, names)
        survivors = {_described(tree, name) for name, result in results.items() if result != "noticed"}
    listed = _listed()
    gone = set() if modules else listed - survivors
    for change in sorted(survivors - listed):
        print(f"no test notices: {change}")
    for change in sorted(gone):
        print(f"listed, but noticed or not made any more: {change}")
    print(f"{len(results)} changes; {len(survivors)} descriptions of survivors, {len(survivors - listed)} not listed")
    return int(bool(survivors - listed))


def _paths(modules):
    paths = [*sorted((ROOT / DOMAIN / "rules").glob("*.py")), *sorted((ROOT / DOMAIN / "transitions").glob("*.py"))]
    return [
        path.relative_to(ROOT)
        for path in paths
        if path.name != "__init__.py" and (not modules or f"{path.parent.name}.{path.stem}" in modules)
    ]


def _change(tree, path):
    """Write a module with all its changes; return their names."""
    changed = mutate_file_contents(str(path), (tree / path).read_text(encoding="utf-8"), None, None)
    (tree / path).write_text(changed.code, encoding="utf-8")
    module = ".".join(path.with_suffix("").parts[1:])
    return [f"{module}.{name}" for name in changed.mutant_names]


def _run(tree, names):
    file = tree / "mutants.json"
    file.write_text(json.dumps(names))
    environment = {**os.environ, "PYTHONPATH": "src:.", "MUTANTS_FILE": str(file)}
    done = subprocess.run(PYTEST, cwd=tree, env=environment, check=False)
    results = json.loads(file.read_text())
    if done.returncode or isinstance(results, list):
        raise SystemExit("the tests do not pass without a change")
    return results


def _described(tree, name):
    """Return what a change does, without its number, which other changes of the function would alter."""
    module, _, function = name.rpartition(".")
    original = f"{function.rpartition('__mutmut_')[0]}__mutmut_orig"
    source = ast.parse((tree / "src" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    found = {node.name: node for node in ast.walk(source) if isinstance(node, ast.FunctionDef)}
    before, after = (ast.unparse(found[each]).replace(each, "").splitlines() for each in (original, function))
    lines = [line for line in difflib.ndiff(before, after) if line[0] in "-+"]
    old, new = (" ".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+")
    place = f"{module.removeprefix('vault_domain.')}.{_plain(original)}"
    return f"{place}: {' -> '.join(_around(old, new))}"


def _plain(function):
    return function.removesuffix("__mutmut_orig").removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")


def _around(old, new):
    """Return the parts of two texts that differ, with what is around them."""
    start = _alike(old, new)
    end = _alike(old[start:][::-1], new[start:][::-1])
    first = max(0, start - _MARGIN)
    return [f"{'…' if first else ''}{text[first : len(text) - max(0, end - _MARGIN)]}" for text in (old, new)]


def _alike(one, other):
    """Return how many characters two texts have in common at their beginning."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _listed():
    groups = tomllib.loads(LISTED.read_text(encoding="utf-8"))["group"]
    return {change for group in groups for change in group["changes"]}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
