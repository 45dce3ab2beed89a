"""Pages of a listing, and the opaque cursors that continue it (keyset paging)."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from attrs import field, frozen

from vault_domain.entities.errors import InvalidInputError
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.text import plain_text

T = TypeVar("T")
Cursor = tuple[str | int, ...]
"""A position: the sort values of the last item of a page. `encode_cursor` returns its opaque form."""

MAX_PAGE = 10_000


def _as_tuple(items: Iterable[T]) -> tuple[T, ...]:
    # attrs reads a converter's signature, and reading that of a builtin such as `tuple` loads a tokenizer.
    return tuple(items)


@frozen
class Page(Generic[T]):
    """One page of a listing.

    Attributes:
        items: the items, sorted.
        next: cursor to pass as ``after`` for the next page; None if this is the last page.
    """

    items: tuple[T, ...] = field(converter=_as_tuple)
    next: str | None = None


def make_page(rows: Sequence[T], limit: int, position: Callable[[T], Cursor]) -> Page[T]:
    """Return a page of the first ``limit`` rows; a row beyond ``limit`` shows that another page follows."""
    more = len(rows) > limit
    items = rows[:limit]
    return Page(items, encode_cursor(position(items[-1])) if more and items else None)


async def walk_pages(fetch: Callable[[str | None], Awaitable[Page[T]]]) -> AsyncIterator[T]:
    """Yield the items of all pages.

    Args:
        fetch: returns the page after a cursor.
    """
    after: str | None = None
    while True:
        page = await fetch(after)
        for item in page.items:
            yield item
        if (after := page.next) is None:
            return


def encode_cursor(position: Cursor) -> str:
    """Return the opaque form of a position."""
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).decode().rstrip("=")


@scrubbed
def decode_cursor(after: object, *kinds: type) -> Cursor | None:
    """Return the position that `encode_cursor` encoded.

    Args:
        after: the opaque form, or None for the beginning.
        kinds: the types of the position's members.

    Raises:
        InvalidInputError: ``after`` is not a cursor of this listing.
    """
    if after is None:
        return None
    position = _parse(after)
    if position is None or [type(member) for member in position] != list(kinds):
        raise InvalidInputError("after must be the `next` of a page of the same listing")
    return tuple(position)


def _parse(after: object) -> list[str | int] | None:
    text = plain_text(after)
    if text is None or len(text) > 8192:
        return None
    try:
        position = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        return None
    return position if isinstance(position, list) and all(map(_is_storable, position)) else None


def _is_storable(member: object) -> bool:
    """Return whether a database accepts the value: a 64-bit integer, or text without NUL and lone surrogates."""
    if isinstance(member, int):
        return -(2**63) <= member < 2**63
    return isinstance(member, str) and "\0" not in member and not any("\ud800" <= c <= "\udfff" for c in member)
