"""Reads which part of the adapters implements which port, by the methods, because no adapter inherits from a port."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.imports import part_of
from tests.architecture.tree import SOURCE, python_files

Shape = dict[str, tuple[str, ...]]
"""The members of a class by name: a method with its type and parameters, any other member with an empty tuple."""


def read_implementations(source: Path = SOURCE) -> dict[str, frozenset[str]]:
    """Return, by name of a port's module, the parts of the adapters that have a class of the port's shape."""
    adapters = [(part_of(module, source), node) for module, node in _classes(source, "vault_adapters")]
    shapes = _shapes([node for _, node in adapters])
    found: dict[str, frozenset[str]] = {}
    for module, node in _classes(source, "vault_domain/ports"):
        if _is_protocol(node):
            port = _members(node)
            parts = {part for part, adapter in adapters if not _is_protocol(adapter) and _fits(shapes[adapter], port)}
            name = module.split(".")[-1]
            found[name] = found.get(name, frozenset()) | parts
    return found


def _classes(source: Path, folder: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for path in python_files(source / folder):
        module = ".".join(path.relative_to(source).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield module, node


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).split("[")[0] == "Protocol" for base in node.bases)


def _shapes(nodes: list[ast.ClassDef]) -> dict[ast.ClassDef, Shape]:
    """Return the members of each class, including those of its base classes."""
    by_name = {node.name: node for node in nodes}

    def shape(node: ast.ClassDef) -> Shape:
        bases = [by_name[name] for base in node.bases if (name := ast.unparse(base).split("[")[0]) in by_name]
        return {name: how for of in (*map(shape, bases), _members(node)) for name, how in of.items()}

    return {node: shape(node) for node in nodes}


def _members(node: ast.ClassDef) -> Shape:
    members: Shape = {}
    for child in node.body:
        match child:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                members[name] = _call(child)
            case ast.AnnAssign(target=ast.Name(id=name)):
                members[name] = ()
            case ast.Assign(targets=targets):
                members |= {target.id: () for target in targets if isinstance(target, ast.Name)}
    return members


def _call(function: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[str, ...]:
    if any(ast.unparse(decorator) == "property" for decorator in function.decorator_list):
        return ()
    arguments = function.args
    return (type(function).__name__, *(argument.arg for argument in (*arguments.args, *arguments.kwonlyargs)))


def _fits(shape: Shape, port: Shape) -> bool:
    return all(shape.get(name) == call for name, call in port.items())
