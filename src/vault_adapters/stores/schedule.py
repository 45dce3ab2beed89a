"""When an account is due after values of it were stored: sums of what the domain gave along with each value."""

from collections.abc import Iterable
from datetime import datetime

from attrs import frozen

from vault_domain.entities.token import TokenInfo, TokenWrite


@frozen
class CommittedSchedule:
    """When an account is due after a provider's answer was committed.

    Attributes:
        due_at: the time; None: never.
        wake: now instead, because no access token was written.
    """

    due_at: datetime | None
    wake: bool


def committed_schedule(written: Iterable[tuple[TokenWrite, TokenInfo]]) -> CommittedSchedule:
    """Return when an account is due after these values were committed."""
    for write, info in written:
        if write.lead is not None:
            return CommittedSchedule(None if info.expires_at is None else info.expires_at - write.lead, wake=False)
    return CommittedSchedule(None, wake=True)
