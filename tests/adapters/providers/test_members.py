"""Paths of members in what providers answer."""

import pytest

from vault_adapters.providers.members import member_at, text_of

ACCOUNTS = {
    "accounts": [{"id": 1, "main": False, "u": {"v": "x"}}, {"id": "b", "main": True}, {"id": 3, "main": "true"}],
    "a.b": "whole",
    "a": {"b": "nested", "0": "zero"},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.b", "whole"),
        ("a.0", "zero"),
        ("accounts.0.id", 1),
        ("accounts.1.id", "b"),
        ("accounts.0.u.v", "x"),
        ("accounts.9.id", None),
        ("accounts.-1.id", None),
        ("accounts.id", None),
        ("accounts.[main].id", "b"),
        ("accounts.[other].id", None),
        ("accounts.*.id", [1, "b", 3]),
        ("accounts.*.u.v", ["x"]),
        ("accounts.*.none", None),
        ("a.*", None),
        ("a.[b]", None),
        ("none.0.id", None),
        ("accounts.99999999999999999999.id", None),
    ],
)
def test_a_path(path, found):
    assert member_at(ACCOUNTS, path) == found


@pytest.mark.parametrize("value", [[{"id": 7}, {"id": 8}], [[1], [2]]])
def test_a_list_at_the_top(value):
    assert member_at(value, "1.id" if isinstance(value[0], dict) else "1.0") in (8, 2)


@pytest.mark.parametrize("value", [None, "text", 7, True, []])
def test_no_member_of_anything_else(value):
    assert [member_at(value, path) for path in ("0", "id", "*", "[id]", "a.b")] == [None] * 5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (7, "7"),
        (True, None),
        (1.5, None),
        ({}, None),
        (10**100, None),
        (["a", 7], "a,7"),
        (["a,b"], None),
        (["a", None], None),
        (["a", {}], None),
        ([], ""),
    ],
)
def test_a_text(value, text):
    assert text_of(value) == text
