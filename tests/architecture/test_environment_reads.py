"""Only vault_adapters/configuration/config.py reads the environment."""

import ast

import pytest
from tests.architecture.tree import SOURCE, python_files

THE_ONLY_READER = SOURCE / "vault_adapters" / "configuration" / "config.py"
ENVIRONMENT = frozenset({"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"})


def environment_uses(source: str) -> list[str]:
    """Name each use of the process's environment in a module."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in ENVIRONMENT:
                found.append(f"line {node.lineno}: os.{name}")
            case ast.ImportFrom(module="os", names=names):
                found.extend(f"line {node.lineno}: os.{alias.name}" for alias in names if alias.name in ENVIRONMENT)
    return found


def test_only_config_reads_the_environment():
    uses = {
        str(path.relative_to(SOURCE)): environment_uses(path.read_text(encoding="utf-8"))
        for path in python_files(SOURCE)
        if path != THE_ONLY_READER
    }
    assert {path: found for path, found in uses.items() if found} == {}


def test_config_reads_it():
    assert environment_uses(THE_ONLY_READER.read_text(encoding="utf-8")) != []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os\nx = os.environ['HOME']", ["line 2: os.environ"]),
        ("import os\nx = os.getenv('HOME')", ["line 2: os.getenv"]),
        ("from os import environ, path", ["line 1: os.environ"]),
        ("import os\nx = os.urandom(28)", []),
    ],
)
def test_a_use_is_found(source, found):
    assert environment_uses(source) == found
