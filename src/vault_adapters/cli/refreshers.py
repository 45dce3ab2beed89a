"""Loads a host's refreshers from a module and attribute that the user names."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from vault_domain import ConfigurationError, InvalidInputError, TokenRefresher, VaultError

VARIABLE = "TOKEN_VAULT_REFRESHERS"

Refreshers = Annotated[
    str | None,
    Parameter(
        name="--refreshers",
        env_var=VARIABLE,
        show_env_var=False,
        help=f"package.module:attribute with the refreshers by provider; the default is {VARIABLE}.",
    ),
]

_PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z", re.ASCII)


def load_refreshers(place: str | None) -> dict[str, TokenRefresher]:
    """Return the refreshers from an attribute of a host's module: a mapping, or a function that returns one.

    Args:
        place: ``package.module:attribute``; if Python's path has no such package, the working directory is searched.

    Raises:
        InvalidInputError: ``place`` does not have this form.
        ConfigurationError: ``place`` is None, or the attribute cannot be loaded or holds no refreshers.
    """
    if place is None:
        raise ConfigurationError(
            f"no refreshers are named: pass --refreshers package.module:attribute, or set {VARIABLE}"
        )
    if not _PLACE.match(place):
        raise InvalidInputError("--refreshers must be package.module:attribute")
    found, problem = _found(*place.split(":"))
    if problem is not None:
        raise ConfigurationError(problem)
    if not isinstance(found, Mapping):
        raise ConfigurationError("the refreshers must be a mapping by provider, or a function that returns one")
    return dict(found)


def load_if_named(place: str | None) -> dict[str, TokenRefresher] | None:
    """Return what `load_refreshers` returns; None if no place is named."""
    return None if place is None else load_refreshers(place)


def _found(module_name: str, attribute: str) -> tuple[Any, str | None]:
    """Return the attribute, or a message, without the text of the host's own error, which may hold secrets."""
    try:
        sys.meta_path.append(_WorkingDirectory(module_name.partition(".")[0]))  # the last one that is asked
        found: Any = importlib.import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
        return (found() if callable(found) else found), None
    except VaultError as error:  # its text repeats no input
        return None, f"the refreshers could not be loaded: {error}"
    except Exception as error:
        return None, f"the refreshers could not be loaded ({type(error).__qualname__}); import the module to see why"


class _WorkingDirectory:
    """Finds a host's module in the working directory, and what modules that were found there import.

    The working directory does not become a part of Python's path. Otherwise any file there could pass for a module that
    is not installed, such as an optional one that a library tries to import, and read the vault's secrets.
    """

    def __init__(self, name: str) -> None:
        self._place = str(Path.cwd())
        self._names = {name}

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return where a module is; None if it is not here, or if a module from elsewhere imports it."""
        if path is not None or (name not in self._names and _importer() not in self._names):
            return None
        found = PathFinder.find_spec(name, [self._place])
        if found is not None:
            self._names.add(name)
        return found


def _importer() -> str:
    """Return the name of the top-level module that is importing now."""
    frame = inspect.currentframe()
    while frame is not None:
        name = str(frame.f_globals.get("__name__")).partition(".")[0]
        if name != "importlib" and frame.f_globals is not globals():
            return name
        frame = frame.f_back
    return ""
