"""Decides whether a remembered row may answer a read."""

import math
from datetime import datetime, timedelta

from attrs import frozen

from vault_domain.entities.account import TokenKey, TokenKind
from vault_domain.entities.token import StoredToken, TokenStatus


@frozen(repr=False)
class MemoryPolicy:
    """How long a remembered row may answer a read. A row's age is the time since the database confirmed the row.

    Attributes:
        read_cache: age up to which a row answers without a query; zero: never.
        serve_stale: age up to which a row answers while the database does not answer; zero: never.
        size: largest number of remembered rows.
        unwatched: limits ``read_cache`` while this process does not hear of other processes' changes.
    """

    read_cache: timedelta = timedelta(0)
    serve_stale: timedelta = timedelta(minutes=10)
    size: int = 10_000
    unwatched: timedelta = timedelta(seconds=1)


def may_be_remembered(key: TokenKey, row: StoredToken) -> bool:
    """Return whether to remember a row, so that it may answer later reads of ``key``.

    A refresh token is not remembered, because presenting a refresh token that was replaced may revoke the grant. An
    invalid value is not remembered, because nobody can use it. The row of another key is a wrong row.
    """
    if key.kind is TokenKind.REFRESH_TOKEN or row.info.status is TokenStatus.INVALID:
        return False
    return row.key is key or row.key == key


def may_answer(age: float, longest: float, left: float) -> bool:
    """Return whether a remembered row may answer a read.

    Args:
        age: seconds since the database confirmed the row.
        longest: the limit for the age, in seconds.
        left: seconds from that confirmation until the token expires.
    """
    return age < longest and age < left


def time_left(row: StoredToken, confirmed_at: datetime) -> float:
    """Return the seconds from ``confirmed_at`` until a row's token expires; infinity if the token does not expire."""
    expires_at = row.info.expires_at
    return math.inf if expires_at is None else (expires_at - confirmed_at).total_seconds()
