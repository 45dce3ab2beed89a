"""When a store's credentials may be presented after its timeline changed."""

from __future__ import annotations

from datetime import datetime, timedelta

from vault_domain.entities.rotation_policy import Rotation, RotationKind

DEFAULT_HOLD = timedelta(seconds=15)
"""Longer than a caller waits for a provider by default."""

_SLACK = timedelta(seconds=1)
"""Most by which the time of a statement is earlier than a time that the statement reads."""


def settled_at(rotation: Rotation, hold: timedelta, turned_at: datetime | None, now: datetime) -> datetime:
    """Return the time from which a provider's credentials may be presented; ``now`` if they may be presented now.

    When its timeline changes, the store may lose its last commits: a claim whose request is open, or an answer. Then
    the credential that the answer has replaced is stored again, although it is spent. During the hold, the processes
    that have such answers store them again. A provider that is not strict accepts a credential that was spent a moment
    ago.

    Args:
        rotation: the provider's rotation policy.
        hold: length of the pause after the change.
        turned_at: time of the change; see `Snapshot`.
        now: the store's time.
    """
    if turned_at is None or rotation.kind is not RotationKind.STRICT:
        return now
    end = turned_at + hold
    return end if now < end <= now + hold + _SLACK else now  # a later end: the clock was set back since
