"""Loads a host's refreshers from a module and attribute that the user names."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from vault_domain import ConfigurationError, InvalidInputError, TokenRefresher

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
        place: ``package.module:attribute``; the working directory is searched last.

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
    if not isinstance(found, Mapping) or not found:
        raise ConfigurationError("the refreshers must be a mapping by provider, or a function that returns one")
    return dict(found)


def load_if_named(place: str | None) -> dict[str, TokenRefresher] | None:
    """Return what `load_refreshers` returns; None if no place is named."""
    return None if place is None else load_refreshers(place)


def _found(module_name: str, attribute: str) -> tuple[Any, str | None]:
    """Return the attribute, or a message without the host's error text, because this text may hold secrets."""
    try:
        _search_working_directory()
        found: Any = importlib.import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
        return (found() if callable(found) else found), None
    except Exception as error:
        return None, f"the refreshers could not be loaded ({type(error).__qualname__}); import the module to see why"


def _search_working_directory() -> None:
    """Search the working directory last, because a file json.py in it must not replace a standard module."""
    place = str(Path.cwd())
    if "" not in sys.path and place not in sys.path:
        sys.path.append(place)
