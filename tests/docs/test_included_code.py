"""The code that stands in a page is the code that the tests run."""

import pytest
from tests.docs.included_code import DOCS, shown_files, with_code

PAGES = sorted(page for page in DOCS.rglob("*.md") if page.relative_to(DOCS).parts[0] != "_build")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_shows_the_present_code(page):
    """If this fails, run ``python -m tests.docs.included_code``."""
    text = page.read_text(encoding="utf-8")
    assert text == with_code(page)
    assert "literalinclude" not in text
    for line in text.splitlines():
        if line.strip().startswith("<!-- ") and "/" in line:
            assert (page.parent / line.strip().removeprefix("<!-- ").removesuffix(" -->")) in shown_files(page)


def test_each_recipe_is_shown_or_linked():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    recipes = [path.name for path in (DOCS / "how-to" / "recipes").iterdir() if path.is_file()]
    assert len(recipes) > 20
    assert [name for name in recipes if f"recipes/{name}" not in text] == []


def test_the_index_of_the_guides_names_each_guide_once():
    index = (DOCS / "how-to" / "index.md").read_text(encoding="utf-8")
    for page in (DOCS / "how-to").glob("*.md"):
        assert index.count(f"({page.name})") == (page.name != "index.md")
