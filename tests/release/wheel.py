"""Check what a wheel holds: the two packages as they are in `src`, the licence, and nothing else.

`python -m tests.release.wheel FILE` prints each problem, and fails if there is one.
"""

import ast
import sys
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("vault_adapters", "vault_domain")

_METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
_SUFFIXES = {".css", ".html", ".py", ".sql", ".svg", ".toml", ".typed"}
_COMMAND_LINE = "vault_adapters/cli/"
_DEMO = "vault_adapters.cli.demo"
_ATTACK_WORDS = ("demo", "intruder", "attack")


def source_files(root: Path = ROOT) -> dict[str, bytes]:
    """Return the files of `src` that a wheel must hold, by their path in the wheel."""
    files = (path for package in PACKAGES for path in (root / "src" / package).rglob("*") if path.is_file())
    return {path.relative_to(root / "src").as_posix(): path.read_bytes() for path in files if path.suffix != ".pyc"}


def problems(held: Mapping[str, bytes], source: Mapping[str, bytes]) -> Iterator[str]:
    """Yield what is wrong with a wheel.

    Args:
        held: the content of the wheel's files by their path.
        source: what `source_files` returns.
    """
    code = {name: content for name, content in held.items() if name.split("/")[0] in PACKAGES}
    yield from _wrong_metadata(held.keys() - code.keys())
    for name in sorted(source.keys() - code.keys()):
        yield f"{name} is missing"
    for name in sorted(code.keys() - source.keys()):
        yield f"{name} is not in src"
    for name in sorted(code.keys() & source.keys()):
        if code[name] != source[name]:
            yield f"{name} differs from src"
        yield from _wrong_file(name, code[name])


def _wrong_metadata(names: set[str]) -> Iterator[str]:
    found = {name.partition(".dist-info/")[2] for name in names if ".dist-info/" in name}
    for name in sorted(_METADATA - found):
        yield f"{name} is missing beside the packages"
    for name in sorted(names):
        if name.partition(".dist-info/")[2] not in _METADATA:
            yield f"{name} belongs to neither package"


def _wrong_file(name: str, content: bytes) -> Iterator[str]:
    path = PurePosixPath(name)
    if path.suffix not in _SUFFIXES:
        yield f"{name} is not a Python, SQL or py.typed file"
    if path.name == "conftest.py" or path.name.startswith("test_") or "tests" in path.parts:
        yield f"{name} is a test"
    if name.startswith(_COMMAND_LINE) or path.suffix != ".py":
        return
    if any(word in part for part in path.parts for word in _ATTACK_WORDS):
        yield f"{name} belongs to the demo but is outside of vault_adapters/cli"
    if any(module.startswith(_DEMO) for module in _imported(content)):
        yield f"{name} imports the demo"


@cache
def _imported(content: bytes) -> tuple[str, ...]:
    found: list[str] = []
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{each.name}" for each in node.names]
    return tuple(found)


def main() -> int:
    """Check the wheel that the command line names."""
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        held = {name: wheel.read(name) for name in wheel.namelist()}
    found = list(problems(held, source_files()))
    print("\n".join(found) or f"{len(held)} files: the packages as in src, the licence and the metadata")
    return len(found) > 0


if __name__ == "__main__":
    sys.exit(main())
