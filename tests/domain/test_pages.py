"""Cursors: opaque, exact, and refused where they are not of the listing."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import CANARY, assert_hidden

from vault_domain import Page
from vault_domain.page import decode_cursor, encode_cursor, make_page, walk_pages

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=255)
numbers = st.integers(-(2**63), 2**63 - 1)


@given(numbers, texts, texts)
def test_a_position_comes_back(number, one, other):
    cursor = encode_cursor((number, one, other))
    assert decode_cursor(cursor, int, str, str) == (number, one, other)
    assert cursor.isascii()


def test_no_cursor_is_the_beginning():
    assert decode_cursor(None, int) is None


@pytest.mark.parametrize(
    "cursor",
    [
        CANARY, "", "é", 1, b"x", [CANARY], "A" * 10_000,
        encode_cursor(("a",)), encode_cursor((1, 2)), encode_cursor((2**63,)), encode_cursor((True,)),
        encode_cursor(("\0",)), "bnVsbA", "W1tdXQ", "WzEuNV0",
    ],
)  # fmt: skip
def test_what_is_no_cursor_of_the_listing_is_refused(cursor):
    assert_hidden(lambda: decode_cursor(cursor, int))


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 7))
def test_pages_give_every_item_once(items, limit):
    async def fetch(after: str | None) -> Page[int]:
        start = 0 if after is None else decode_cursor(after, int)[0]
        rows = list(enumerate(items))[start : start + limit + 1]
        page = make_page(rows, limit, lambda row: (row[0] + 1,))
        return Page([value for _, value in page.items], page.next)

    async def collect() -> list[int]:
        return [item async for item in walk_pages(fetch)]

    assert asyncio.run(collect()) == items
