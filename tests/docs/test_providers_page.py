"""The page about providers says what their profiles say."""

from tests.docs.providers import PAGE, page


def test_the_page_is_made_from_the_profiles():
    assert PAGE.read_text() == page(), "run `python -m tests.docs.providers`"
