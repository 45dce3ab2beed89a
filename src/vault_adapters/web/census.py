"""Counts accounts by provider and state, a part of them on each visit of the page that shows the counts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import anyio
from attrs import field, frozen

from vault_domain import AccountInfo, ConnectionState, TokenVault

_PAGE = 500
_BUDGET = 0.7
"""Seconds of counting per visit. A count reads the rows of every account, because the state is computed from them."""

_FRESH_FOR = 60.0
"""Seconds after the end of a count before the next one begins."""


@frozen
class Counts:
    """Numbers of accounts.

    Attributes:
        by_provider: the number for each provider and state.
        reasons: the number for each state and reason; connected accounts have no reason.
        total: the number of accounts counted.
        counted_at: the time at which the counting ended, UTC; None if it has not ended yet.
    """

    by_provider: Counter[tuple[str, ConnectionState]] = field(factory=Counter)
    reasons: Counter[tuple[ConnectionState, str]] = field(factory=Counter)
    total: int = 0
    counted_at: datetime | None = None

    @property
    def providers(self) -> list[str]:
        """The providers, sorted."""
        return sorted({provider for provider, _ in self.by_provider})

    def of(self, state: ConnectionState) -> int:
        """Return the number of accounts in a state."""
        return sum(count for (_, found), count in self.by_provider.items() if found is state)


class Census:
    """Counts all accounts, a part on each call; begins again a minute after it has counted all of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, budget: float = _BUDGET, page: int = _PAGE) -> None:
        self._clock = clock
        self._budget = budget
        self._page = page
        self._lock = anyio.Lock()
        self._last: tuple[float, Counts] | None = None
        self._begin()

    def _begin(self) -> None:
        self._after: str | None = None
        self._providers: Counter[tuple[str, ConnectionState]] = Counter()
        self._reasons: Counter[tuple[ConnectionState, str]] = Counter()

    async def follow(self, vault: TokenVault) -> Counts:
        """Continue the count; return the last finished counts, or the unfinished ones if no count has finished yet."""
        async with self._lock:
            if self._last is not None and self._clock() - self._last[0] < _FRESH_FOR:
                return self._last[1]
            until = self._clock() + self._budget
            while True:
                page = await vault.list_accounts(None, limit=self._page, after=self._after)
                for info in page.items:
                    self._count(info)
                self._after = page.next
                if page.next is None:
                    self._last = (self._clock(), self._counts(datetime.now(UTC)))
                    self._begin()
                    return self._last[1]
                if self._clock() >= until:
                    return self._counts(None) if self._last is None else self._last[1]

    def _count(self, info: AccountInfo) -> None:
        self._providers[info.account.provider, info.state] += 1
        if info.reason is not None:
            self._reasons[info.state, info.reason] += 1

    def _counts(self, counted_at: datetime | None) -> Counts:
        return Counts(Counter(self._providers), Counter(self._reasons), self._providers.total(), counted_at)
