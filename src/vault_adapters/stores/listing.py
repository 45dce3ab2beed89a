"""What both stores do for a list: which statement has which parameters, and where the next page begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from attrs import frozen

from vault_adapters.stores.columns import LISTED, TOKEN, owner_of
from vault_adapters.stores.damage import account_of_row, sound_page
from vault_domain.entities.account import ConnectionState
from vault_domain.entities.page import Cursor
from vault_domain.entities.refresh_state import AccountRecord
from vault_domain.entities.text import MAX_NAME_LENGTH
from vault_domain.entities.token import TokenInfo
from vault_domain.ports.pages import AccountQuery, Condemned, Ending, Owned, Refreshed, TokenQuery

_Row = tuple[Any, ...]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@frozen
class Types:
    """Converts to a store's parameters.

    Attributes:
        time: converts a time; None: None.
        span: converts a duration.
        moment: converts microseconds since 1970, which a forged cursor may give, to a time.
        id: converts the id of a token.
    """

    time: Callable[[datetime | None], Any]
    span: Callable[[timedelta], Any]
    moment: Callable[[int], Any]
    id: Callable[[UUID], Any]


async def list_tokens(
    query: TokenQuery,
    limit: int,
    after: Cursor | None,
    types: Types,
    fetch: Callable[[str, dict[str, Any], int], Awaitable[list[_Row]]],
    decode: Callable[[_Row, str | None, str | None], TokenInfo],
) -> list[TokenInfo]:
    """List tokens; see `Pages.tokens`.

    Args:
        query, limit, after: see `Pages.tokens`.
        types: converts parameters.
        fetch: runs a statement by its name, with parameters and a limit.
        decode: decodes a row, given the tenant and the provider that were asked for.
    """
    name, parameters, start = _statement(query, after, types)
    names, place = _PLACES[name]

    async def fetch_page(position: tuple[Any, ...], wanted: int) -> list[_Row]:
        return await fetch(name, parameters | dict(zip(names, position, strict=True)), wanted)

    def decoded(row: _Row) -> TokenInfo:
        return decode(row, parameters.get("tenant_id"), parameters["provider"])

    return await sound_page(fetch_page, decoded, place, start, limit)


async def list_accounts(
    query: AccountQuery,
    limit: int,
    after: Cursor | None,
    fetch: Callable[[str, dict[str, Any], int], Awaitable[list[_Row]]],
    decode: Callable[[Sequence[_Row], str | None, str | None], AccountRecord],
) -> list[AccountRecord]:
    """List accounts; see `Pages.accounts`, and `list_tokens` for the arguments; ``fetch`` returns sorted rows."""
    name, sought = list_of(query)
    wanted = {"tenant_id": query.tenant_id, "provider": query.provider, **sought}

    async def fetch_page(position: Sequence[Any], number: int) -> list[list[_Row]]:
        page = dict(zip(_PLACE_OF_ACCOUNT, position, strict=True))
        return [list(group) for _, group in groupby(await fetch(name, wanted | page, number), key=owner_of)]

    def decoded(rows: Sequence[_Row]) -> AccountRecord:
        with suppress(*[Exception] if query.with_damaged else []):
            return decode(rows, query.tenant_id, query.provider)
        _, key, _ = LISTED.split(rows[-1])
        return AccountRecord(account_of_row(key, query.tenant_id, query.provider), {})

    return await sound_page(
        fetch_page,
        decoded,
        lambda rows: owner_of(rows[-1]),
        after or ("", "", ""),
        limit,
    )


def _statement(query: TokenQuery, after: Cursor | None, types: Types) -> tuple[str, dict[str, Any], tuple[Any, ...]]:
    """Return the name of a query's statement, its parameters, and its first position."""
    if isinstance(query, Owned):
        return "list_tokens", {"tenant_id": query.tenant_id, "provider": query.provider}, after or ("", "", "")
    if isinstance(query, Condemned | Refreshed):
        start = (types.time(query.since), "", "", "") if after is None else (types.moment(int(after[0])), *after[1:])
    if isinstance(query, Condemned):
        wanted = {
            "provider": query.provider,
            "tenant_id": query.tenant_id,
            "until": types.time(query.until),
            "client": query.client,
            "stored_since": types.time(query.stored_since or _EPOCH),
        }
        return "find_condemned_tokens", wanted, start
    if isinstance(query, Refreshed):
        return "find_refreshed_tokens", {"provider": query.provider, "client": query.client}, start
    expires_at, tenant_id, id_hex = after or (-1, "", "")
    first = (types.moment(int(expires_at)), tenant_id, types.id(_uuid(str(id_hex))))
    if isinstance(query, Ending):
        return "find_ending_tokens", {"notice": types.span(query.notice), "provider": None}, first
    return "find_expiring_tokens", {"within": types.span(query.within), "provider": query.provider}, first


def _uuid(id_hex: str) -> UUID:
    try:
        return UUID(hex=id_hex)
    except ValueError:
        return UUID(int=0)  # a forged cursor; it changes only the position within the caller's own listing


def _by_expiry(row: _Row) -> tuple[Any, ...]:
    """Return the position of a row in the list of expiring tokens."""
    (id_, _, _, expires_at, *_), (tenant_id, *_), _ = LISTED.split(row)
    return expires_at, tenant_id, id_


def _by_time(column: str) -> Callable[[_Row], tuple[Any, ...]]:
    """Return the function that returns the position of a row in a list that is sorted by the time in a column."""
    place = TOKEN.index(column)

    def position(row: _Row) -> tuple[Any, ...]:
        token, (tenant_id, _, kind, identifier), _ = LISTED.split(row)
        return token[place], tenant_id, identifier, kind

    return position


def _by_key(row: _Row) -> tuple[Any, ...]:
    """Return the position of a row in a tenant's list of tokens."""
    _, (_, provider, kind, identifier), _ = LISTED.split(row)
    return provider, identifier, kind


_SINCE = ("since", "after_tenant_id", "after_identifier", "after_kind")
_BY_EXPIRY = ("after_expires_at", "after_tenant_id", "after_id"), _by_expiry
_PLACES = {
    "list_tokens": (("after_provider", "after_identifier", "after_kind"), _by_key),
    "find_condemned_tokens": (_SINCE, _by_time("t.rejected_at")),
    "find_refreshed_tokens": (_SINCE, _by_time("t.last_refreshed_at")),
    "find_ending_tokens": _BY_EXPIRY,
    "find_expiring_tokens": _BY_EXPIRY,
}
"""By a statement's name, the parameters that name a position in its list, and the function that returns a row's."""

_PLACE_OF_ACCOUNT = ("after_tenant_id", "after_provider", "after_identifier")
"""The parameters that name a position in a list of accounts, in the order by which the list is sorted."""

_LISTS = {
    ConnectionState.REAUTHORIZATION_REQUIRED: "list_doubtful_accounts",
    ConnectionState.RETRYING: "list_troubled_accounts",
}


def list_of(query: AccountQuery) -> tuple[str, dict[str, Any]]:
    """Return the name of the statement that finds the accounts of a query, and the parameters ``sought`` and ``last``.

    The statement may also find accounts of other states, and the caller drops them. The statement for a rare state
    finds only few accounts of other states. The parameters are the first and the last text that begins with the text
    of the query: no label or identifier is longer than 255 characters, and no character sorts after U+10FFFF.
    """
    if query.text is not None:
        return "find_accounts", {"sought": query.text, "last": query.text + "\U0010ffff" * MAX_NAME_LENGTH}
    own = query.sibling_of
    if own is not None:
        names = {"tenant_id": own.tenant_id, "provider": own.provider, "identifier": own.identifier or ""}
        return "list_siblings", names
    if query.tenant_id is not None:
        return "list_accounts", {}
    anyone = "list_all_accounts" if query.provider is None else "list_provider_accounts"
    return anyone if query.state is None else _LISTS.get(query.state, anyone), {}
