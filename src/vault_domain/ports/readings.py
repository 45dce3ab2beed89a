"""What `Accounts` returns of the rows that it has read."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from attrs import frozen

from vault_domain.entities.token import DamagedToken, StoredToken

if TYPE_CHECKING:
    from vault_domain.entities.account import TokenKind
    from vault_domain.entities.account_state import KeptAnswer
    from vault_domain.entities.refresh_state import AccountRecord
    from vault_domain.entities.token import SealedToken


@frozen
class Reading:
    """The result of reading one key.

    Attributes:
        row: the stored token; None if the key holds no token, or if the row cannot be used.
        now: the store's time of the read; callers judge expiry by it.
        damaged: stands for a row that cannot be used, and says why; else None.
        is_stale: whether the row comes from this process's memory, because the store did not answer.
    """

    row: StoredToken | None
    now: datetime
    damaged: DamagedToken | None = None
    is_stale: bool = False

    @property
    def answer(self) -> StoredToken | DamagedToken | None:
        """The stored token, or the `DamagedToken` that stands for its row; None if nothing is stored."""
        return self.damaged or self.row

    @classmethod
    def of(cls, answer: StoredToken | DamagedToken | None, now: datetime) -> Reading:
        """Return the reading whose `answer` is ``answer``."""
        return cls(None, now, answer) if isinstance(answer, DamagedToken) else cls(answer, now)


@frozen
class Snapshot:
    """An account and its sealed values, read in one statement.

    Attributes:
        record: the account without its values; None if nothing is stored.
        sealed: the sealed values of its tokens, by kind.
        now: the store's time.
        answer: the answer that is kept for the account, or None.
        store_since: time since which the store has been reachable, UTC: the start of its server, or the end of the last
            outage that this process saw. None for a store that is always reachable.
        timeline: names the history of the store's commits; another name means that the store may have lost its last
            commits, because a standby was promoted. None if the store loses no commits, or cannot name its timeline.
        turned_at: time at which a vault first saw this timeline, UTC; `now` if that time could not be stored. None if
            `timeline` is None.
        clock_since: time at which this process last noticed a step of the store's clock, UTC; None if it noticed none.
    """

    record: AccountRecord | None
    sealed: dict[TokenKind, SealedToken]
    now: datetime
    answer: KeptAnswer | None = None
    store_since: datetime | None = None
    timeline: str | None = None
    turned_at: datetime | None = None
    clock_since: datetime | None = None

    def token(self, kind: TokenKind) -> StoredToken | None:
        """Return the account's token of a kind with its sealed value, or None."""
        info = None if self.record is None else self.record.tokens.get(kind)
        return None if info is None else StoredToken(info, self.sealed[kind])

    def undisturbed_since(self, lease: timedelta) -> datetime | None:
        """Return the time since which nothing has kept holders of leases from storing their answers; None: always.

        This is `store_since`, or a later time if the clock has stepped. If the clock steps forward, a lease that began
        just before the step seems to have ended long ago. It really ends at most ``lease`` after the step.
        """
        stepped = None if self.clock_since is None else self.clock_since + lease
        return max((at for at in (self.store_since, stepped) if at is not None), default=None)
