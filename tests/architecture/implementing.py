"""Finds which part of the adapters implements which port; compares methods, because no adapter inherits from a port."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from attrs import frozen
from tests.architecture.imports import part_of
from tests.architecture.tree import SOURCE, python_files

Shape = dict[str, tuple[str, ...]]
"""The members of a class by name: a method with its node type and parameters, any other member with an empty tuple."""


@frozen(eq=False)
class _Class:
    """A class as its module defines it, with its own members only."""

    name: str
    bases: tuple[str, ...]
    members: Shape

    @property
    def is_protocol(self) -> bool:
        return "Protocol" in self.bases


def read_implementations(source: Path = SOURCE) -> dict[str, frozenset[str]]:
    """Return, by name of a port's module, the parts of the adapters that have a class of the port's shape."""
    adapters = [(part_of(module, source), each) for module, each in _classes(source, "vault_adapters")]
    shapes = _shapes([each for _, each in adapters])
    found: dict[str, frozenset[str]] = {}
    for module, port in _classes(source, "vault_domain/ports"):
        if port.is_protocol:
            fitting = {part for part, each in adapters if not each.is_protocol and _fits(shapes[each], port.members)}
            name = module.split(".")[-1]
            found[name] = found.get(name, frozenset()) | fitting
    return found


def _classes(source: Path, folder: str) -> Iterator[tuple[str, _Class]]:
    for path in python_files(source / folder):
        module = ".".join(path.relative_to(source).with_suffix("").parts)
        for found in _classes_in(path.read_text(encoding="utf-8")):
            yield module, found


@cache
def _classes_in(text: str) -> tuple[_Class, ...]:
    """Return the classes in a module's text; they are cached, because tests read many copies that are nearly equal."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    return tuple(_Class(node.name, tuple(map(_base, node.bases)), _members(node)) for node in nodes)


def _base(node: ast.expr) -> str:
    return ast.unparse(node).split("[")[0]


def _shapes(classes: list[_Class]) -> dict[_Class, Shape]:
    """Return the members of each class, including those of its base classes."""
    by_name = {each.name: each for each in classes}

    def shape(each: _Class) -> Shape:
        bases = [by_name[name] for name in each.bases if name in by_name]
        return {name: how for of in (*map(shape, bases), each.members) for name, how in of.items()}

    return {each: shape(each) for each in classes}


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
