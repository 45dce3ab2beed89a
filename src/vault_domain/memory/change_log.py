"""Knows which rows have changed since a read began, so that an old row in the read's result is not remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attrs import frozen

from vault_domain.entities.account import Account, TokenKey, TokenKind
from vault_domain.entities.token import StoredToken

Scope = tuple[str, ...]
"""Names the rows that a write may change: tenant, provider, identifier and kind, or the first few of them."""

EVERYTHING: Scope = ()

_MOST_CHANGES = 10_000
"""Largest number of changes to keep. If there are more, one change of all rows takes their place."""

_DOUBT_SECONDS = 60.0
"""Time for which a write with an unknown result is in doubt; the database may still commit it."""


def scope_of_key(key: TokenKey) -> Scope:
    """Return the scope of one row."""
    return (key.tenant_id, key.provider, key.identifier or "", key.kind)


def scope_of_access(account: Account) -> Scope:
    """Return the scope of an account's access token."""
    return (account.tenant_id, account.provider, account.identifier or "", TokenKind.ACCESS_TOKEN)


@frozen(repr=False)
class _Told:
    number: int
    value: str


class ChangeLog:
    """Gives a number, from 1 on, to each change that this process knows of.

    Args:
        monotonic: a monotonic clock, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self.last = 0
        self._all = 0
        self._scopes: dict[Scope, int] = {}
        self._told: dict[str, _Told] = {}
        self._in_doubt: dict[Scope, float] = {}

    def note(self, scope: Scope) -> None:
        """Note a change of all rows in a scope."""
        self.last += 1
        if len(self._scopes) >= _MOST_CHANGES or scope == EVERYTHING:
            self._forget()
        self._scopes[scope] = self.last

    def note_mark(self, mark: str, value: str) -> None:
        """Note a change that another process made; see `ChangeHearer.row_changed`."""
        self.last += 1
        if len(self._told) >= _MOST_CHANGES:
            self._forget()
        self._told[mark] = _Told(self.last, value)

    def _forget(self) -> None:
        """Count every row as changed, and keep no single changes."""
        self._all = self.last
        self._scopes.clear()
        self._told.clear()

    def has_changed(self, key: TokenKey, mark: str | None, row: StoredToken | None, since: int) -> bool:
        """Return whether ``row`` may be old, because a change with a number above ``since`` concerns it.

        A change that another process made does not count if ``row`` already holds the new value.

        Args:
            key: the row's key.
            mark: the row's mark, or None if this process does not hear of other processes' changes.
            row: the row as it was read.
            since: the value of `last` when the read began.
        """
        if since < self._all or any(self._scopes.get(scope, 0) > since for scope in _scopes_around(key)):
            return True
        told = None if mark is None else self._told.get(mark)
        return told is not None and told.number > since and not is_value(row, told.value)

    def doubt(self, scopes: Sequence[Scope]) -> None:
        """Remember that a write of these scopes ended without a known result."""
        now = self._monotonic()
        self._in_doubt = {scope: until for scope, until in self._in_doubt.items() if until > now}
        too_many = len(scopes) + len(self._in_doubt) > _MOST_CHANGES
        self._in_doubt |= dict.fromkeys([EVERYTHING] if too_many else scopes, now + _DOUBT_SECONDS)

    def is_in_doubt(self, key: TokenKey) -> bool:
        """Return whether a write without a known result may still change this row."""
        if not self._in_doubt:
            return False
        now = self._monotonic()
        return any(self._in_doubt.get(scope, 0.0) > now for scope in _scopes_around(key))


def is_value(row: StoredToken | None, value: str) -> bool:
    """Return whether the hexadecimal id of a row's value begins with ``value``; False if ``value`` is empty."""
    return bool(value) and row is not None and row.info.value_id.hex.startswith(value)


def _scopes_around(key: TokenKey) -> Iterable[Scope]:
    whole = scope_of_key(key)
    return (whole[:length] for length in range(len(whole) + 1))
