"""Cursors are opaque and exact, and only their own listing accepts them; pages cover every item once."""

import asyncio
import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.domain.leaks import assert_refused

from vault_domain import InvalidInputError, Page
from vault_domain.entities.page import decode_cursor, encode_cursor, make_page, walk_pages

any_text = st.text(st.characters(exclude_categories=[]), max_size=300)
storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
members = st.integers(-(2**63), 2**63 - 1) | storable


@given(st.lists(members, min_size=1, max_size=4))
def test_a_cursor_comes_back_as_it_was_and_for_its_own_listing_only(position):
    kinds = [type(member) for member in position]
    after = encode_cursor(tuple(position))
    assert after.isascii()
    assert decode_cursor(after, *kinds) == tuple(position)
    for wrong in ([*kinds, str], kinds[1:], [str if kind is int else int for kind in kinds]):
        assert_refused(lambda wrong=wrong: decode_cursor(after, *wrong), after)


def cursor(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "after",
    [
        "", " ", "x", "A", "====", "\u00e9", "\ud800", "A" * 8193, b"WyJhIl0", 5, True, (), cursor([True]),
        cursor([None]), cursor([1.5]), cursor([["a"]]), cursor({"a": 1}), cursor("a"), cursor([2**63]),
        cursor([-(2**63) - 1]), cursor(["a\0"]), cursor(["\ud800"]), cursor([]), cursor(["a"]) + "\n",
        base64.b64encode(b"[" * 3000).decode(), base64.b64encode(b'["a", NaN]').decode(), cursor([1, "a"]),
    ],
    ids=range(27),
)  # fmt: skip
def test_made_up_cursors_are_refused(after):
    with pytest.raises(InvalidInputError) as caught:
        decode_cursor(after, str)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@given(any_text | st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_no_text_breaks_the_reader_of_cursors(after):
    try:
        position = decode_cursor(after, str, int)
    except InvalidInputError:
        return
    assert [type(member) for member in position] == [str, int]


def test_no_cursor_is_the_beginning():
    assert decode_cursor(None, int) is None


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 7))
def test_pages_give_every_item_once(items, limit):
    async def fetch(after: str | None) -> Page[int]:
        start = 0 if after is None else decode_cursor(after, int)[0]
        rows = list(enumerate(items))[start : start + limit + 1]
        page = make_page(rows, limit, lambda row: (row[0] + 1,))
        assert len(page.items) <= limit
        return Page([value for _, value in page.items], page.next)

    async def collect() -> list[int]:
        return [item async for item in walk_pages(fetch)]

    assert asyncio.run(collect()) == items


@pytest.mark.parametrize(("count", "is_more"), [(0, False), (2, False), (3, False), (4, True)])
def test_only_where_more_follows_there_is_a_next_page(count, is_more):
    page = make_page(list(range(count)), 3, lambda row: (row,))
    assert page.items == tuple(range(min(count, 3)))
    assert (page.next is not None) is is_more
