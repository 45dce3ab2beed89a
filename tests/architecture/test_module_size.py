"""A module that grows past one screenful too many wants to be two."""

from tests.architecture.tree import SOURCE, python_files

MOST_LINES = 350


def test_no_module_is_too_long():
    sizes = {str(path.relative_to(SOURCE)): len(path.read_bytes().splitlines()) for path in python_files(SOURCE)}
    assert {path: lines for path, lines in sizes.items() if lines > MOST_LINES} == {}
