"""A database is at home if one name of its place and the name of its deployment are those of the record."""

import pytest

from vault_domain.entities.home import Home
from vault_domain.rules.homes import is_home


@pytest.mark.parametrize(
    ("recorded", "found", "expected"),
    [
        (Home(("a",)), Home(("a",)), True),
        (Home(("a",)), Home(("b",)), False),
        (Home(("file", "path")), Home(("file", "other path")), True),
        (Home(("file", "path")), Home(("other file", "path")), True),
        (Home(("file", "path")), Home(("other file", "other path")), False),
        (Home(("a",)), Home(), True),  # the place cannot be told
        (Home(), Home(("a",)), True),
        (Home(("a",)), Home(("a",), "production"), True),  # the home gets a name
        (Home(("a",), "production"), Home(("a",), "production"), True),
        (Home(("a",), "production"), Home(("a",), "staging"), False),
        (Home(("a",), "production"), Home(("a",)), False),
        (Home(("a",), "production"), Home(("b",), "production"), False),
        (Home((), "production"), Home((), "staging"), False),
    ],
)
def test_a_home_is_compared_with_the_record(recorded, found, expected):
    assert is_home(recorded, found) is expected
