"""Uses the expiry, ``lead`` and ``due_in`` of stored values to compute when these values make their account due."""

from collections.abc import Iterable
from datetime import datetime

from attrs import frozen

from vault_domain.entities.account import Account
from vault_domain.entities.imported import ImportedWrite
from vault_domain.entities.token import TokenInfo, TokenWrite

_Stored = tuple[TokenWrite | ImportedWrite, datetime | None]


@frozen
class CommittedSchedule:
    """The time at which an account is due after the commit of a provider's answer.

    Attributes:
        due_at: the time, UTC; None: never. It counts only if ``wake`` is False.
        wake: whether the account is due now. True if no access token with a ``lead`` was written.
    """

    due_at: datetime | None
    wake: bool


def due_at_of(write: TokenWrite | ImportedWrite, expires_at: datetime | None, now: datetime) -> datetime | None:
    """Return the time at which a value that is stored ``now`` makes its account due; None: the value sets no time."""
    times = [] if write.lead is None or expires_at is None else [expires_at - write.lead]
    if write.due_in is not None:
        times.append(_used_at(write, now) + write.due_in)
    return min(times, default=None)


def accounts_due(stored: Iterable[_Stored], now: datetime) -> dict[Account, datetime | None]:
    """Return for each account of values that are stored together when they make it due; None: they set no time.

    If an account's access token sets a time, the account's other values do not count.

    Args:
        stored: each value with its expiry.
        now: the time of storing.
    """
    due: dict[Account, datetime | None] = {}
    for write, expires_at in _access_first(stored):
        account = write.key.account
        due_at = due_at_of(write, expires_at, now)
        due[account] = due.get(account) or due_at
    return due


def _access_first(stored: Iterable[_Stored]) -> list[_Stored]:
    """Return stored values with their expiries, in an order in which the access tokens come first.

    If an account's access token is stored together with other values, it decides when the account is due.
    """
    return sorted(stored, key=lambda each: each[0].lead is None)


def _used_at(write: TokenWrite | ImportedWrite, now: datetime) -> datetime:
    """Return the time since which the credential is idle: ``now``, or an earlier time that an imported value has."""
    known = (write.last_refreshed_at or write.created_at) if isinstance(write, ImportedWrite) else None
    return now if known is None else min(known, now)


def committed_schedule(written: Iterable[tuple[TokenWrite, TokenInfo]]) -> CommittedSchedule:
    """Return the schedule of an account after the commit of these values."""
    for write, info in written:
        if write.lead is not None:
            return CommittedSchedule(due_at_of(write, info.expires_at, info.updated_at), wake=False)
    return CommittedSchedule(None, wake=True)
