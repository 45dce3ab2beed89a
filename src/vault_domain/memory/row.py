"""`RememberedRow`: one row in this process's memory, with data that makes further reads of this row cheap."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from attrs import define

from vault_domain.entities.account import TokenKey
from vault_domain.entities.token import StoredToken
from vault_domain.memory.change_log import Scope
from vault_domain.ports.cipher import Opening
from vault_domain.rules.freshness import RefreshPolicy, fresh_for
from vault_domain.rules.remembering import time_left


@define(eq=False, repr=False)
class RememberedRow:
    """A sealed row as the store last returned it.

    Attributes:
        key: the key that a caller asked for; the row names the same key.
        place: the `scope_of_key` of this key.
        token: the row.
        store_time: the store's time when it returned the row.
        since: the monotonic clock's time, in seconds, at which the read or write that returned the row began.
        epoch: see `Ticket`.
        mark: see `ChangeWatch.mark`.
        was_used: whether the row has answered a reader since `RememberedRows` last moved this row behind all other
            remembered rows. To make room, `RememberedRows` forgets the first row whose ``was_used`` is False.
        opening: decrypts the value again; None until the row has answered a read that sent no query.
    """

    key: TokenKey
    place: Scope
    token: StoredToken
    store_time: datetime
    since: float
    epoch: int
    mark: str | None
    was_used: bool = False
    opening: Opening | None = None
    _left: float | None = None
    _fresh: float | None = None
    _use_due: float = -math.inf  # the monotonic time from which a use may be recorded

    def confirm(self, store_time: datetime, since: float, epoch: int) -> None:
        """Remember that the store has returned the same row again."""
        self.store_time, self.since, self.epoch = store_time, since, epoch
        self.was_used, self._left, self._fresh = False, None, None
        self._use_due = -math.inf

    @property
    def left(self) -> float:
        """Seconds from ``store_time`` until the token expires; infinity if it does not expire."""
        if self._left is None:
            self._left = time_left(self.token, self.store_time)
        return self._left

    def time_at(self, age: float) -> datetime:
        """Return the store's time when this row is ``age`` seconds old."""
        return self.store_time + timedelta(seconds=age)

    def is_fresh(self, age: float, policy: RefreshPolicy) -> bool:
        """Return whether `freshness` is FRESH when this row is ``age`` seconds old.

        This method runs for each access token that memory hands out. To save time, the method compares ``age`` with one
        stored number and does not call `freshness`.
        """
        if self._fresh is None:
            self._fresh = fresh_for(self.token.info, self.store_time, policy)
        return age < self._fresh

    def is_use_due(self, age: float) -> bool:
        """Return whether a use at this age may be recorded."""
        return self.since + age >= self._use_due

    def defer_use(self, age: float, seconds: float) -> None:
        """Let `is_use_due` return False for ``seconds`` seconds from this age on."""
        self._use_due = self.since + age + seconds
