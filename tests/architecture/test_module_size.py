"""Modules have at most 350 lines, because a longer one probably does two things; facades may be longer."""

from tests.architecture.tree import SOURCE, python_files

MOST_LINES = 350

FACADES = {"vault_domain/facade/vault.py": 650}
"""Facades have one short method per use case; splitting them would only make methods harder to find."""


def test_no_module_is_too_long():
    sizes = {str(path.relative_to(SOURCE)): len(path.read_bytes().splitlines()) for path in python_files(SOURCE)}
    assert {path: lines for path, lines in sizes.items() if lines > FACADES.get(path, MOST_LINES)} == {}
