"""The one order of the columns in which both stores read tokens and accounts.

A query names a group of columns by a placeholder, such as ``{{token_columns}}``, and the code takes its rows apart by a
`RowLayout` of the same groups. So no number of a column stands anywhere else.
"""

from collections.abc import Sequence
from typing import Any

from attrs import frozen

Columns = tuple[str, ...]

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
)
"""What describes a token: of ``token t``, with ``token_use u`` beside it."""

KEY: Columns = ("t.tenant_id", "t.provider", "t.kind", "t.identifier")
"""The token's key."""

VALUE: Columns = ("t.data_key_id", "t.blob")
"""The sealed value."""

ACCOUNT: Columns = (
    "a.label",
    "a.credential_id",
    "a.credential_generation",
    "a.attempt_id",
    "a.lease_until",
    "a.sent_at",
    "a.failures",
    "a.next_attempt_at",
    "a.unknown_since",
    "a.error_code",
)
"""The account's label and refresh state: of ``account a``."""

PLACEHOLDERS = {
    "token_columns": ", ".join(TOKEN),
    "key_columns": ", ".join(KEY),
    "value_columns": ", ".join(VALUE),
    "account_columns": ", ".join(ACCOUNT),
}
"""What the query loader puts in place of the groups' names."""


@frozen
class RowLayout:
    """The groups of columns that a query returns, in their order."""

    _slices: tuple[slice, ...]

    @classmethod
    def of(cls, *groups: Columns) -> "RowLayout":
        """Return the layout of a query that names these groups first."""
        slices, start = [], 0
        for group in groups:
            slices.append(slice(start, start + len(group)))
            start += len(group)
        return cls((*slices, slice(start, None)))

    def split(self, row: Sequence[Any]) -> list[Any]:
        """Return the row's columns, group by group, and at last those that the query names behind them."""
        return [row[part] for part in self._slices]


LISTED = RowLayout.of(TOKEN, KEY)
"""A token in a list."""

STORED = RowLayout.of(TOKEN, VALUE)
"""A token with its sealed value, for a caller who knows its key."""

OWNED = RowLayout.of(TOKEN, KEY, ACCOUNT)
"""A token with its account."""

OWNED_VALUE = RowLayout.of(TOKEN, KEY, ACCOUNT, VALUE)
"""A token with its account and its sealed value."""
