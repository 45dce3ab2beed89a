"""The ports of a store, read from `Store`, whose annotations are for type checkers only."""

from importlib import import_module
from pkgutil import iter_modules

from vault_adapters.composition import Store
from vault_domain import ports


def port_classes():
    """Return the class of each port of a store, by the port's attribute."""
    modules = [import_module(f"{ports.__name__}.{each.name}") for each in iter_modules(ports.__path__)]
    classes = {name: each for module in modules for name, each in vars(module).items()}
    members = {name: each for name, each in vars(Store).items() if isinstance(each, property)}
    return {name: classes[each.fget.__annotations__["return"]] for name, each in members.items()}
