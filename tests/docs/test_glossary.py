"""The glossary defines the words of the code and the documentation, and each code name in it exists in the source."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "glossary.md").read_text()
ROWS = re.findall(r"^\| (?!word |verb |---)([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
WORDS = [word.strip("` ") for words, _ in ROWS for word in words.split(", ")]
SOURCE = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
OLD_WORDS = re.compile(r"\b(dek|kek|deks|keks|swept)\b", re.IGNORECASE)
OF_THE_FORMAT = re.compile(r"tokenvault/v1/\w+-\w+|[`\"]dek[`\"]|items +dek,")
"""The byte format's own labels, which can never change."""


EXPECTED = """
account attempt backoff claim context credential data_key emptied_data_key envelope generation grace_period horizon
journal key key_rotation lease master_key position quiescence refresh_buffer reserve rotation_policy sweep TokenKey
tombstone unknown_outcome wrap
"""


@pytest.mark.parametrize("word", EXPECTED.split())
def test_the_word_is_defined(word):
    assert WORDS.count(word.replace("_", " ")) == 1


def test_no_word_is_defined_twice():
    """A reader who knows OAuth and databases needs few words more."""
    assert len(WORDS) <= 60
    assert sorted(WORDS) == sorted(set(WORDS))


def test_the_names_of_code_exist():
    names = re.findall(r"`(\w{3,})(?:\(\w*\))?`", PAGE)
    assert len(names) > 15
    assert [name for name in names if not re.search(rf"\b{name}\b", SOURCE)] == []


@pytest.mark.parametrize(
    "path",
    [
        *(
            path
            for path in sorted((ROOT / "docs").rglob("*.md"))
            if path.relative_to(ROOT / "docs").parts[0] not in {"decisions", "_build"}
        ),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    ],
    ids=lambda path: path.name,
)
def test_no_page_uses_a_word_that_was_given_up(path):
    assert OLD_WORDS.findall(OF_THE_FORMAT.sub("", path.read_text())) == []


def test_it_is_linked_from_where_a_contributor_begins():
    assert "(docs/reference/glossary.md)" in (ROOT / "CONTRIBUTING.md").read_text()
    assert "(../reference/glossary.md)" in (ROOT / "docs" / "explanation" / "architecture.md").read_text()
