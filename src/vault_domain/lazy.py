"""Loads a package's public names when they are first used, so that a program loads only the modules that it needs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def loader(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return a package's ``__getattr__`` (PEP 562).

    The package imports the same names under ``TYPE_CHECKING``, for type checkers and editors.

    Args:
        package: the package's name.
        homes: public names, separated by spaces, by the module that defines them. Without names, the module itself is
            public.
    """
    home_of = {name: home for home, names in homes.items() for name in names.split() or [home.rpartition(".")[2]]}

    def load(name: str) -> object:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        home = home_of[name]
        module = import_module(home)
        found: object = getattr(module, name) if homes[home] else module
        setattr(sys.modules[package], name, found)  # the next use does not come here
        return found

    return load
