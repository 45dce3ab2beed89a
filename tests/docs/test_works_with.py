"""The page about what the vault works with names tests that exist, and covers the extras that a host installs."""

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "works-with.md").read_text()
INTERNAL = {"all", "bench", "cli", "connect", "dev", "docs", "http", "jwt", "metrics", "otel", "test", "web"}
SHOWN_AS = {"aws": "AWS KMS", "google": "google-auth", "postgres": "PostgreSQL"}


def test_the_named_tests_exist():
    named = re.findall(r"`(tests/[\w./]+)`", PAGE)
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_extra_for_other_software_is_on_the_page():
    extras = set(metadata.metadata("token-vault").get_all("Provides-Extra")) - INTERNAL
    assert [extra for extra in extras if SHOWN_AS.get(extra, extra).lower() not in PAGE.lower()] == []


def test_every_extra_that_a_host_may_install_is_in_the_first_table():
    extras = set(metadata.metadata("token-vault").get_all("Provides-Extra"))
    table = PAGE.partition("## Extras")[2].partition("## ")[0]
    first = " ".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `"))
    assert set(re.findall("`(.+?)`", first)) == extras - {"bench", "dev", "docs", "test"}
