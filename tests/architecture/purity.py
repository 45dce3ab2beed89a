"""Reads a module's source, and names the imports and calls that make it impure."""

import ast
from collections.abc import Iterator

ALLOWED_IMPORTS = frozenset(
    {
        "vault_domain",
        "attr",
        "attrs",
        # Modules of the standard library that neither wait, nor read a clock, nor do I/O.
        "__future__",
        "abc",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "contextlib",
        "contextvars",
        "copy",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "fractions",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "itertools",
        "json",
        "logging",
        "math",
        "numbers",
        "operator",
        "re",
        "string",
        "struct",
        "textwrap",
        "types",
        "typing",
        "unicodedata",
        "urllib.parse",
        "uuid",
        "warnings",
        "weakref",
        "zoneinfo",
    }
)

REFUSED_NAMES = frozenset({"breakpoint", "compile", "eval", "exec", "input", "open", "print", "__import__"})
"""Builtins that do I/O, or that hide an import from this check."""

REFUSED_ATTRIBUTES = frozenset({"now", "utcnow", "today", "getnode", "uuid1", "uuid4"})
"""Attributes of classes and modules that answer differently at each call."""

CLASSES_AND_MODULES = frozenset({"datetime", "date", "time", "uuid"})


def impurities(source: str) -> list[str]:
    """Name every import outside the allow-list, and every use of a refused builtin or attribute."""
    tree = ast.parse(source)
    found = [finding for node in ast.walk(tree) for finding in (*_imports(node), *_uses(node))]
    return [f"line {line}: {what}" for line, what in sorted(found)]


def _imports(node: ast.AST) -> Iterator[tuple[int, str]]:
    match node:
        case ast.Import(names=names):
            for name in names:
                if not _is_allowed(name.name):
                    yield node.lineno, f"imports {name.name}"
        case ast.ImportFrom(module=module, level=0, names=names):
            for name in names:
                if not (_is_allowed(module) or _is_allowed(f"{module}.{name.name}")):
                    yield node.lineno, f"imports {module}.{name.name}"
        case ast.ImportFrom():
            yield node.lineno, "imports relatively"


def _uses(node: ast.AST) -> Iterator[tuple[int, str]]:
    match node:
        case ast.ImportFrom(module=module, names=names) if module in CLASSES_AND_MODULES:
            for name in names:
                if name.name in REFUSED_ATTRIBUTES:
                    yield node.lineno, f"uses {module}.{name.name}"
        case ast.Attribute(attr=attribute, value=ast.Name(id=owner) | ast.Attribute(attr=owner)):
            if attribute in REFUSED_ATTRIBUTES and owner in CLASSES_AND_MODULES:
                yield node.lineno, f"uses {ast.unparse(node)}"
        case ast.Name(id=name, ctx=ast.Load()) if name in REFUSED_NAMES:
            yield node.lineno, f"uses {name}"


def _is_allowed(module: str) -> bool:
    """Whether a module, or a package that contains it, is on the list."""
    parts = module.split(".")
    return any(".".join(parts[:end]) in ALLOWED_IMPORTS for end in range(1, len(parts) + 1))
