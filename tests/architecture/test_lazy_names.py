"""Public names are loaded when they are first used: a package that names them for type checkers can load them all."""

import ast
import importlib
from pathlib import Path

import pytest

PACKAGES = ["vault_domain", "vault_adapters", "vault_adapters.providers"]


def for_type_checkers(package):
    """The names that the package imports under TYPE_CHECKING, with the modules that they come from."""
    tree = ast.parse(Path(importlib.import_module(package).__file__).read_text())
    block = next(each for each in tree.body if isinstance(each, ast.If))
    return {alias.name: node.module for node in block.body for alias in node.names}


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_and_programs_get_the_same_objects(package):
    module = importlib.import_module(package)
    for name, home in for_type_checkers(package).items():
        found = getattr(module, name)
        expected = getattr(importlib.import_module(home), name)
        assert found is expected, name


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_is_public_that_a_type_checker_does_not_find(package):
    module = importlib.import_module(package)
    eager = {"load_profile", "profiles"} if package == "vault_adapters.providers" else set()
    assert set(module.__all__) == set(for_type_checkers(package)) | eager
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package):
    module = importlib.import_module(package)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'TokenVaultt'"):
        module.TokenVaultt  # noqa: B018
    assert not hasattr(module, "__wrapped__")
