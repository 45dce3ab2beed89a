"""Computes when an account is due after a commit, from the expiry and ``lead`` of the new access token."""

from collections.abc import Iterable
from datetime import datetime

from attrs import frozen

from vault_domain.entities.token import TokenInfo, TokenWrite


@frozen
class CommittedSchedule:
    """The time at which an account is due after the commit of a provider's answer.

    Attributes:
        due_at: the time, UTC; None: never.
        wake: whether the account is due now instead, because no access token was written.
    """

    due_at: datetime | None
    wake: bool


def committed_schedule(written: Iterable[tuple[TokenWrite, TokenInfo]]) -> CommittedSchedule:
    """Return the schedule of an account after the commit of these values."""
    for write, info in written:
        if write.lead is not None:
            return CommittedSchedule(None if info.expires_at is None else info.expires_at - write.lead, wake=False)
    return CommittedSchedule(None, wake=True)
