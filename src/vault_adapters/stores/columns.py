"""The column groups that both stores use to read tokens and accounts, with their order.

A query names a group of columns by a placeholder, such as ``{{token_columns}}``. The code splits the query's rows
with a `RowLayout` of the same groups. So no other module uses a column's place in a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

if TYPE_CHECKING:
    from vault_domain.entities.imported import ImportedWrite
    from vault_domain.entities.token import TokenInfo, TokenWrite
    from vault_domain.ports.audit_log import Sought

Columns = tuple[str, ...]

ColumnType = Literal["text", "bytea", "timestamptz"]


@frozen(repr=False)
class PlainColumn:
    """A token's column that the writer of a value gives, and that no other statement changes.

    All statements that read and write tokens, of both stores, are built from the list `PLAIN`. A write, an imported
    write and `TokenInfo` have an attribute of the same name; each value that is stored replaces the column.

    Attributes:
        name: its name.
        type: its type on Postgres; SQLite keeps times as microseconds since 1970.
    """

    name: str
    type: ColumnType


PLAIN = (PlainColumn("client", "bytea"),)
"""The plain columns of a token, in the order of the last attributes of `TokenInfo`."""

_PLAIN_NAMES = tuple(column.name for column in PLAIN)

TOKEN: Columns = (
    "t.id",
    "t.status",
    "t.error_code",
    "t.expires_at",
    "t.scopes",
    "t.generation",
    "u.last_used_at",
    "t.last_refreshed_at",
    "t.lifetime",
    "t.created_at",
    "t.updated_at",
    "t.value_id",
    "t.suspect_since",
    "t.rejected_at",
    *(f"t.{column.name}" for column in PLAIN),
)
"""A token's metadata, from ``token t`` and ``token_use u``, in the order of the attributes of `TokenInfo`."""

KEY: Columns = ("t.tenant_id", "t.provider", "t.kind", "t.identifier")
"""The token's key."""

VALUE: Columns = ("t.data_key_id", "t.blob", "t.extra")
"""The sealed value, and its sealed extra members or NULL."""

ACCOUNT: Columns = (
    "a.label",
    "a.credential_value_id",
    "a.attempt_id",
    "a.lease_until",
    "a.sent_at",
    "a.failures",
    "a.next_attempt_at",
    "a.unknown_since",
    "a.error_code",
    "a.refused_since",
    "a.refused_for",
)
"""The account's label and refresh state, from ``account a``."""

OWNER = "tenant_id, provider, identifier"
"""The columns that name an account, in the order of the lists of accounts."""

MOST_BLOB = 65_664
"""Size of the largest sealed value in bytes: the envelope of a value of 64 KiB."""

MOST_EXTRA = 17_504
"""Size of the largest sealed extra members in bytes: the envelope has room for 16 KiB of members and a token type."""

MOST_SCOPES = 1_048_576
"""Size of the longest list of scopes in bytes."""

MOST_URI = 4096
"""Size of a master key's longest URI, and of its longest KDF parameters, in bytes."""

MOST_WRAP = 8192
"""Size of the largest wrap of a data key in bytes; a key service makes wraps of at most 6,144 bytes."""


MOST_TEXT = 1020
"""Size of the longest short text, such as a label, in bytes: 255 characters of UTF-8."""

_AT_MOST = re.compile(r"\{\{(text|bytes) (?:(\d+) )?([\w.]+)\}\}")


def with_limits(sql: str, size: str) -> str:
    """Replace each ``{{text column}}`` and ``{{bytes 32 column}}`` by the column, which is empty if it is too large.

    Args:
        sql: a query; a number is the largest size in bytes, and `MOST_TEXT` without one.
        size: see `placeholders`.
    """

    def limited(found: re.Match[str]) -> str:
        empty = "x''" if found[1] == "bytes" and size == "length" else "''"
        return f"CASE WHEN {size}({found[3]}) > {found[2] or MOST_TEXT} THEN {empty} ELSE {found[3]} END"

    return _AT_MOST.sub(limited, sql)


_SHORT = {"t.error_code", "a.error_code", "a.label"}


def limited(name: str) -> str:
    """Return a column for `with_limits`, with its limit if it is a short text."""
    return f"{{{{text {name}}}}}" if name in _SHORT else name


def placeholders(size: str) -> dict[str, str]:
    """Return a dict from the name of each placeholder to the SQL that replaces it.

    A table that was restored without its constraints may hold a huge value. So the statements do not return such a
    value, and its row counts as damaged.

    Args:
        size: the SQL function that returns a value's size.
    """
    blob = f"CASE WHEN {size}(t.blob) <= {MOST_BLOB} THEN t.blob END"
    # NULL would mean that the token has no extra members. So extra members that are too large become an empty value,
    # which counts as damaged.
    extra = f"CASE WHEN {size}(t.extra) > {MOST_EXTRA} THEN '' ELSE t.extra END"
    shown = {"t.blob": blob, "t.extra": extra}
    wrapped = f"CASE WHEN {size}(wrapped) <= {MOST_WRAP} THEN wrapped END"
    scopes = f"CASE WHEN {size}(t.scopes) > {MOST_SCOPES} THEN '' ELSE t.scopes END"
    shown |= {name: with_limits(limited(name), size) for name in _SHORT} | {"t.scopes": scopes}
    return {
        "token_columns": ", ".join(shown.get(name, name) for name in TOKEN),
        "key_columns": ", ".join(KEY),
        "value_columns": ", ".join(shown.get(name, name) for name in VALUE),
        "account_columns": ", ".join(shown.get(name, name) for name in ACCOUNT),
        "answer_columns": f"n.attempt_id, n.data_key_id, {blob.replace('t.blob', 'n.blob')}, n.kept_at",
        "owner": OWNER,
        "wrapped": wrapped,
        **{name: f"CASE WHEN {size}({name}) <= {MOST_URI} THEN {name} ELSE '' END" for name in ("uri", "kdf")},
    }


_EACH_PLAIN = re.compile(r"\{\{plain ([^{}]+)\}\}")


def with_plain(sql: str) -> str:
    """Replace each ``{{plain ...}}`` by a list with one item for each plain column.

    The text after ``plain`` is the item; ``$name`` and ``$type`` in it stand for the column's name and type.
    """
    return _EACH_PLAIN.sub(lambda found: ", ".join(_item(found[1], column) for column in PLAIN), sql)


def _item(form: str, column: PlainColumn) -> str:
    return form.replace("$name", column.name).replace("$type", column.type)


def plain_values(owner: TokenInfo | TokenWrite | ImportedWrite) -> dict[str, Any]:
    """Return the values of the plain columns, by their names."""
    return {name: getattr(owner, name) for name in _PLAIN_NAMES}


def plain_arrays(owners: Sequence[TokenInfo | TokenWrite | ImportedWrite]) -> dict[str, list[Any]]:
    """Return the values of the plain columns of several tokens: one array for each column, by its name."""
    return {name: list(map(attrgetter(name), owners)) for name in _PLAIN_NAMES}


@frozen(eq=False, repr=False)
class RowLayout:
    """The groups of columns that a query returns, in their order.

    Attributes:
        split: returns the columns of each group of a row, followed by the query's remaining columns. It is an
            `itemgetter`, because that is fast, and every read of a token calls it.
    """

    split: Callable[[Sequence[Any]], tuple[Any, ...]]

    @classmethod
    def of(cls, *groups: Columns) -> RowLayout:
        """Return the layout of a query whose first columns are these groups."""
        slices, start = [], 0
        for group in groups:
            slices.append(slice(start, start + len(group)))
            start += len(group)
        return cls(itemgetter(*slices, slice(start, None)))


LISTED = RowLayout.of(TOKEN, KEY)
"""The rows of a list of tokens."""

STORED = RowLayout.of(TOKEN, VALUE)
"""A token with its sealed value, but not its key, because the caller knows the key."""

OWNED = RowLayout.of(TOKEN, KEY, ACCOUNT)
"""A token with its account."""

OWNED_VALUE = RowLayout.of(TOKEN, KEY, ACCOUNT, VALUE)
"""A token with its account and its sealed value."""


_LAST_USE = TOKEN.index("u.last_used_at")
_VALUE_ID = TOKEN.index("t.value_id")
_GENERATION = TOKEN.index("t.generation")


TOKEN_ALONE: Columns = tuple(name for name in TOKEN if name.startswith("t."))
"""The columns `TOKEN` without ``u.last_used_at``, which `with_last_use` adds to a row."""

_SCOPES, _CODE, _BLOB, _EXTRA = (
    (*TOKEN, *VALUE).index(name) for name in ("t.scopes", "t.error_code", "t.blob", "t.extra")
)


def with_last_use(row: Sequence[Any], last_used_at: object) -> tuple[Any, ...]:
    """Add the last use to a row that begins with `TOKEN_ALONE`, so that it begins with `TOKEN`."""
    return (*row[:_LAST_USE], last_used_at, *row[_LAST_USE:])


def bounded(row: Sequence[Any]) -> tuple[Any, ...]:
    """Apply the limits of `placeholders` to a row that was read without them and begins with `TOKEN` and `VALUE`."""
    scopes, blob, extra = row[_SCOPES], row[_BLOB], row[_EXTRA]
    sound = list(row)
    if len(row[_CODE] or "") > MOST_TEXT:
        sound[_CODE] = ""
    if len((scopes or "").encode()) > MOST_SCOPES:
        sound[_SCOPES] = ""
    if len(blob or b"") > MOST_BLOB:
        sound[_BLOB] = None
    if len(extra or b"") > MOST_EXTRA:
        sound[_EXTRA] = b""
    return tuple(sound)


def dated(row: tuple[Any, ...], now: object) -> tuple[Any, ...]:
    """Replace the last column of a row, the database's time, with ``now``; None: return the row unchanged."""
    return row if now is None else (*row[:-1], now)


def id_of(row: Sequence[Any]) -> Any:
    """Return the id of a token from a row that begins with the columns `TOKEN`."""
    return row[0]


def value_id_of(row: Sequence[Any]) -> Any:
    """Return the value id of a token from a row that begins with the columns `TOKEN`."""
    return row[_VALUE_ID]


def generation_of(token: Sequence[Any]) -> Any:
    """Return the generation from the columns `TOKEN`."""
    return token[_GENERATION]


def is_missing(token: Sequence[Any]) -> bool:
    """Return whether the columns `TOKEN` of a row hold no token; a query may return a row for a key without a token."""
    return token[0] is None


# In the rows of a list, the key comes after the token. This getter takes a third of the time of `LISTED.split`.
_KEY_PLACE = len(TOKEN)
_OWNER_OF: Callable[[Sequence[Any]], tuple[str, str, str]] = itemgetter(_KEY_PLACE, _KEY_PLACE + 1, _KEY_PLACE + 3)


def owner_of(row: Sequence[Any]) -> tuple[str, str, str]:
    """Return the tenant, the provider and the identifier of a token's row, which name its account."""
    return _OWNER_OF(row)


def sought_parameters(sought: Sought) -> dict[str, Any]:
    """Return the parameters that select audit events by account and action; the caller adds the time."""
    account = sought.account
    return {
        "account_tenant_id": None if account is None else account.tenant_id,
        "provider": None if account is None else account.provider,
        "identifier": None if account is None else account.identifier or "",
        "action": None if sought.action is None else sought.action.value,
    }
