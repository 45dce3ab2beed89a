"""Reads which part of the source imports which, as the picture of the architecture shows it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from attrs import frozen
from tests.architecture.tree import SOURCE, python_files

PACKAGES = ("vault_domain", "vault_adapters")
WITH = {f"vault_adapters.{name}": "vault_adapters.composition" for name in ("wiring", "parts", "hosting")}
"""The composition root consists of four modules, which are one part."""

LAZY = "vault_domain.lazy"
"""Loads the public names of packages; it is part of their ``__init__``, and not drawn."""

SPLIT = "vault_adapters.stores"
"""Each folder in this folder is a part of its own; the modules beside these folders form one more part."""


@frozen
class Imports:
    """Parts, such as ``vault_domain.rules``, and which imports which.

    Attributes:
        parts: every room of the domain (see docs/explanation/architecture.md), and every other folder and module in a
            package.
        arrows: pairs of a part and another part that it imports.
    """

    parts: frozenset[str]
    arrows: frozenset[tuple[str, str]]


def read_imports(source: Path = SOURCE) -> Imports:
    """Return what the modules below ``source`` import of each other.

    As in import-linter's contracts, imports under TYPE_CHECKING do not count. A name that is imported from a package
    counts as imported from the part in which it is defined.
    """
    names = {package: _public_names(source / package / "__init__.py") for package in PACKAGES}
    parts, arrows = set(), set()
    for path in (path for package in PACKAGES for path in python_files(source / package)):
        if path.parent.name in PACKAGES and path.name == "__init__.py":
            continue  # only public names; an import of one counts for the part that defines it
        part = part_of(".".join(path.relative_to(source).with_suffix("").parts), source)
        if part == LAZY:
            continue
        parts.add(part)
        imported = _imported_in(path.read_text(encoding="utf-8"))
        arrows |= {(part, part_of(_home(module, name, names), source)) for module, name in imported if module != LAZY}
    return Imports(frozenset(parts), frozenset(arrow for arrow in arrows if arrow[0] != arrow[1]))


def read_contents(source: Path = SOURCE) -> dict[str, tuple[str, ...]]:
    """Return the modules and folders of each room of the domain, folders first and with a slash."""
    return {
        room.name: (
            *(f"{path.name}/" for path in sorted(room.iterdir()) if (path / "__init__.py").is_file()),
            *(path.stem for path in sorted(room.glob("*.py")) if path.name != "__init__.py"),
        )
        for room in sorted((source / "vault_domain").iterdir())
        if room.is_dir()
    }


def part_of(module: str, source: Path = SOURCE) -> str:
    """Return the part that a module belongs to."""
    if not module.startswith(f"{SPLIT}."):
        part = ".".join(module.split(".")[:2])
        return WITH.get(part, part)
    folder = ".".join(module.split(".")[:3])
    return folder if source.joinpath(*folder.split(".")).is_dir() else SPLIT


def _public_names(init: Path) -> dict[str, str]:
    """Return the module of every name that a package's ``__init__`` imports, also of those that are loaded lazily."""
    found = {}
    body = ast.parse(init.read_text(encoding="utf-8")).body
    for node in (*body, *(each for block in body if isinstance(block, ast.If) for each in block.body)):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.update({name.asname or name.name: node.module for name in node.names})
    return found


@cache
def _imported_in(text: str) -> tuple[tuple[str, str], ...]:
    """Return what a module imports from `PACKAGES`, as pairs of a module and a name in it; the name may be empty.

    The result is kept, because the tests read many copies of the source in which one module differs.
    """
    return tuple(_imported(ast.parse(text)))


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.Import(names=aliases):
                yield from ((alias.name, "") for alias in aliases if alias.name.split(".")[0] in PACKAGES)
            case ast.ImportFrom(module=str(module), names=aliases) if module.split(".")[0] in PACKAGES:
                yield from ((module, alias.name) for alias in aliases)
            case _:
                yield from _imported(child)


def _home(module: str, name: str, names: dict[str, dict[str, str]]) -> str:
    """Return an imported name, preceded by the module that defines it."""
    while module in names and name in names[module]:
        module = names[module][name]
    return f"{module}.{name}" if name else module
