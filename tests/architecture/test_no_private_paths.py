"""No published file contains a path that exists on one machine only."""

import re

import pytest
from tests.architecture.tree import ROOT, published_files

PLACES = [
    r"/(?:work|workspace|builds)/",
    r"/(?:home|Users)/(?!user/|app/|you/)[a-z][\w.-]*/",
    r"/(?:root)/",
    r"/tmp/(?:scratch|bash_jobs)",
    r"/opt/(?:wheels)",
    r"(?i:[a-z]:\\users\\)",
    r"\bshared/(?:design|vectors|hooks)",
    r"https?://(?!localhost)[\w.-]+:\d+/simple\b",
]
PRIVATE = re.compile("|".join(rf"(?<![\w.)\]]){place}" for place in PLACES))


def private_paths(text: str) -> list[str]:
    """Return each line that contains a path of one machine only, such as the folder of this checkout."""
    return [line.strip() for line in text.splitlines() if PRIVATE.search(line) or str(ROOT) + "/" in line]


def test_no_file_names_a_private_place():
    found = {}
    for path in published_files():
        try:
            lines = private_paths(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue
        if lines:
            found[str(path.relative_to(ROOT))] = lines
    assert found == {}


@pytest.mark.parametrize("folder", ["work", "home/ann", "Users/ann", "root", "tmp/scratch", "builds"])
def test_a_private_place_is_found(folder):
    line = f"see /{folder}/main/notes.md"
    assert private_paths(f"first\n{line}\n") == [line]


def test_this_checkout_is_found():
    assert private_paths(f"built in {ROOT}/docs") != []


@pytest.mark.parametrize(
    "line",
    [
        "DATABASE_URL=sqlite:////var/lib/app/token-vault.db",
        "journal_dir=/tmp/journal",
        "https://example.com/work/main",
        "docs/work/index.md",
        "/home/app/.cache",
    ],
)
def test_other_paths_are_left_alone(line):
    assert private_paths(line) == []
