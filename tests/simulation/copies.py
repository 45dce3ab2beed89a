"""Attrs values are made and copied faster for the simulation, which makes about a hundred of them in each refresh."""

import sys
from contextlib import contextmanager
from functools import cache

import attrs

_COPIERS = {}
_OURS = ("vault_domain.", "vault_adapters.", "tests.")
_set = object.__setattr__


def evolve(instance, **changes):
    """Do what `attrs.evolve` does, in a third of the time: the class's constructor runs with all its checks."""
    key = (instance.__class__, *changes)
    copier = _COPIERS.get(key)
    if copier is None:
        copier = _COPIERS[key] = _copier(instance.__class__, changes)
    return copier(instance, *changes.values())


def _copier(cls, changed):
    """Return a function of an instance and changed values; it calls the constructor with them and the other fields."""
    fields = [field for field in attrs.fields(cls) if field.init]
    if any(field.kw_only for field in fields) or not {field.alias for field in fields}.issuperset(changed):
        return lambda instance, *values: attrs.evolve(instance, **dict(zip(changed, values, strict=True)))
    arguments = (f"new_{field.alias}" if field.alias in changed else f"old.{field.name}" for field in fields)
    parameters = "".join(f", new_{name}" for name in changed)
    return eval(f"lambda old{parameters}: cls({', '.join(arguments)})", {"cls": cls})


@cache
def fast_constructor(cls):
    """Return a constructor that does the same as a frozen attrs class's own, in a third of the time.

    A frozen class sets each field by a slow call. Until the fields are set, this constructor lets the instance belong
    to a class that is not frozen.

    Returns:
        None if the class is not frozen, has no slots, or does more than to set its fields.
    """
    fields = attrs.fields(cls)
    if not _only_sets_slots(cls, fields):
        return None
    names = {"__slots__": (), "__setattr__": _set, "__delattr__": object.__delattr__}
    known = {"set_class": _set, "frozen": cls, "thawed": type(cls)(cls.__name__, (cls,), names)}
    parameters, lines = ["self"], ["set_class(self, '__class__', thawed)"]
    for field in fields:
        default, value = field.default, field.alias
        if isinstance(default, attrs.Factory):
            known[f"no_{value}"], known[f"new_{value}"] = object(), default.factory
            parameters.append(f"{value}=no_{value}")
            value = f"new_{value}() if {value} is no_{value} else {value}"
        elif default is attrs.NOTHING:
            parameters.append(value)
        else:
            known[f"default_{value}"] = default
            parameters.append(f"{value}=default_{value}")
        lines.append(f"self.{field.name} = {value}")
    lines.append("self.__class__ = frozen")
    exec(f"def __init__({', '.join(parameters)}): {'; '.join(lines)}", known)
    return known["__init__"]


def _only_sets_slots(cls, fields):
    is_frozen = cls.__setattr__ is not object.__setattr__ and "__slots__" in vars(cls) and not cls.__dictoffset__
    is_plain = cls.__init__.__code__.co_filename.startswith("<attrs generated") and cls.__bases__ == (object,)
    return bool(
        is_frozen
        and is_plain
        and "_attrs_cached_hash" not in cls.__slots__
        and not hasattr(cls, "__attrs_post_init__")
        and not hasattr(cls, "__attrs_pre_init__")
        and fields
        and not any(
            field.converter or field.validator or field.kw_only or not field.init or _takes_self(field.default)
            for field in fields
        )
    )


def _takes_self(default):
    return isinstance(default, attrs.Factory) and default.takes_self


@contextmanager
def fast_values():
    """Let all modules of the vault and of the tests make and copy values in this way."""
    replaced = _replaceable()
    for owner, name, _, new in replaced:
        setattr(owner, name, new)
    try:
        yield
    finally:
        for owner, name, old, _ in replaced:
            setattr(owner, name, old)


@cache
def _replaceable():
    """Return the functions to replace, each as four values: its owner, its name, the function, its replacement."""
    modules = [module for name, module in sys.modules.items() if name.startswith(_OURS)]
    classes = {each for module in modules for each in vars(module).values() if _is_our_class(each)}
    return [
        *((each, "evolve", attrs.evolve, evolve) for each in modules if getattr(each, "evolve", None) is attrs.evolve),
        *((each, "__init__", each.__init__, new) for each in classes if (new := fast_constructor(each)) is not None),
    ]


def _is_our_class(each):
    return isinstance(each, type) and attrs.has(each) and each.__module__.startswith(_OURS)
