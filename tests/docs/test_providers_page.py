"""The reference page of providers is written from the profiles."""

from tests.docs.providers_page import PAGE, written


def test_the_page_is_written_from_the_profiles():
    assert PAGE.read_text() == written(), "run `python -m tests.docs.providers_page`"
