"""Find the public surface by introspection: each function, constructor and method that a host may call."""

import enum
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import attrs

import vault_adapters
import vault_adapters.providers
import vault_adapters.testing
from vault_adapters import VaultError, clients
from vault_adapters.cli.application import build

CLIENTS = tuple(module.name for module in pkgutil.iter_modules(clients.__path__))
_OF_HOSTS = ("Vault", "AsyncVault", "RejectionHandler", "AsyncRejectionHandler")
"""How the names of the classes begin that a host makes of a client's module."""


def public_names() -> dict[str, Any]:
    """Return what a host may call, by name: ``open_vault``, ``TokenVault.get_token``, ``httpx.VaultAuth``."""
    found: dict[str, Any] = {}
    for module in (vault_adapters, vault_adapters.providers, vault_adapters.testing, vault_adapters.providers.presets):
        for name in module.__all__:
            found |= _callables(name, getattr(module, name))
    for client in CLIENTS:
        module = importlib.import_module(f"vault_adapters.clients.{client}")
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) == module.__name__ and name.startswith(_OF_HOSTS):
                found |= _callables(f"{client}.{name}", value)
    return found


def commands() -> list[str]:
    """Return the command lines of all commands, such as ``keys rotate-data``."""
    return list(_commands(build(), ()))


def _commands(app: Any, before: tuple[str, ...]) -> Iterator[str]:
    for name in app:
        if name.startswith("-"):
            continue
        below = app[name]
        deeper = [found for found in _commands(below, (*before, name)) if found]
        yield from deeper
        if below.default_command is not None:
            yield " ".join((*before, name))


def _callables(name: str, value: Any) -> dict[str, Any]:
    if inspect.isclass(value):
        return dict(_of_class(name, value))
    return {name: value} if callable(value) else {}


def _of_class(name: str, cls: Any) -> Iterator[tuple[str, Any]]:
    if issubclass(cls, VaultError) or getattr(cls, "_is_protocol", False):
        return
    if not _is_record(cls):
        yield name, cls
    if issubclass(cls, enum.Enum):
        return
    for method, value in inspect.getmembers(cls, callable):
        if (not method.startswith("_") or method == "__call__") and _is_ours(value) and method in _declared(cls):
            yield f"{name}.{method}", value


def _is_record(cls: Any) -> bool:
    """Return whether a class only holds values that the vault returns, and checks none of them."""
    if not attrs.has(cls) or "__attrs_post_init__" in vars(cls):
        return False
    return not any(field.converter or field.validator for field in attrs.fields(cls))


def _is_ours(value: Any) -> bool:
    return (getattr(value, "__module__", None) or "").startswith("vault_")


def _declared(cls: Any) -> set[str]:
    return {name for base in cls.__mro__ for name in vars(base)}
