"""The page about OAuth requirements names each clause once, and tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "oauth-requirements.md").read_text()
ASVS = {1: 2, 2: 3, 3: 5, 4: 16, 5: 5, 6: 2, 7: 3}
"""The number of requirements in each section of chapter V10 of ASVS 5.0."""


def rows(title):
    table = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return [line.split(" | ") for line in table.splitlines() if re.match(r"\| \d", line)]


def clauses(text):
    """The clauses that the first cell of a row names, such as `10.3.1 to 10.3.5` or `10.4.13, 10.4.15`."""
    for section, first, last in re.findall(r"10\.(\d)\.(\d+)(?: to 10\.\d\.(\d+))?", text):
        yield from ((int(section), number) for number in range(int(first), int(last or first) + 1))


def test_each_clause_of_the_chapter_is_in_the_table_once():
    found = [clause for row in rows("ASVS 5.0, chapter V10") for clause in clauses(row[0])]
    assert sorted(found) == [(section, number) for section, most in ASVS.items() for number in range(1, most + 1)]


def test_each_section_of_the_rfc_is_in_the_table():
    found = {number for row in rows("RFC 9700") for number in re.findall(r"\d\.\d+(?:\.\d+)?", row[0])}
    assert {f"4.{number}" for number in range(1, 18)} - {"4.10"} <= found
    assert {"2.1", "2.1.1", "2.1.2", "2.2.1", "2.2.2", "2.3", "2.4", "2.5", "2.6", "4.10.1"} <= found


def test_each_test_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 45
    for path, test in named:
        text = (ROOT / path).read_text()
        assert re.search(rf"def {test}\(", text), f"{path}::{test}"


def test_a_row_without_a_test_says_whose_part_it_is():
    for row in rows("ASVS 5.0, chapter V10") + rows("RFC 9700"):
        if "tests/" not in row[-1]:
            assert re.search("not the vault's role|part|none|not used", row[1]), row[0]
