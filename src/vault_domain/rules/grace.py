"""Decides whether a credential may be presented again in a grace period, and how long an exchange may last."""

from __future__ import annotations

from datetime import datetime, timedelta

from vault_domain.entities.refresh_state import RefreshState, was_set_back
from vault_domain.entities.rotation_policy import Rotation, RotationKind
from vault_domain.rules.timing import RefreshTiming

_TURN = timedelta(seconds=2)
"""Time to end one exchange and to begin the next."""

_LONG_AGO = timedelta.max / 4


def since_first_request(state: RefreshState, now: datetime) -> timedelta:
    """Return the time since the first request whose outcome may be unknown.

    If the time of that request is not known, return a very long time.
    """
    if state.sent_at is None or was_set_back(state.sent_at, now):
        return _LONG_AGO
    return max(timedelta(0), now - state.sent_at)


def may_repeat(rotation: Rotation, since_first: timedelta, timing: RefreshTiming) -> bool:
    """Return whether a credential may be presented again after an unknown outcome.

    A whole request must fit into the rest of the grace period.

    Args:
        rotation: the provider's rotation policy.
        since_first: time from the first request to the repeated one; see `since_first_request`.
        timing: the time limits of a refresh.
    """
    return rotation.kind is RotationKind.GRACE and since_first + timing.deadline < rotation.grace_period


def listening_time(rotation: Rotation, since_first: timedelta, timing: RefreshTiming) -> timedelta:
    """Return how long an exchange with the provider may last before its connection is closed.

    With a grace period, the exchange ends early enough for one repetition. But if the exchange would then last less
    than the callers' deadline, it is not shortened. The repetition begins after the connection is closed, so that there
    is never more than one open request for a credential.
    """
    if rotation.kind is RotationKind.GRACE:
        room = rotation.grace_period - timing.deadline - since_first - _TURN
        if room >= timing.deadline:
            return min(timing.exchange, room)
    return timing.exchange


def useless_grace(rotation: Rotation, timing: RefreshTiming) -> str | None:
    """Return why a grace period is too short to be used; None if it can be used, or if there is no grace period."""
    if rotation.kind is not RotationKind.GRACE or may_repeat(rotation, timedelta(0), timing):
        return None
    period, deadline = rotation.grace_period.total_seconds(), timing.deadline.total_seconds()
    others = (timing.lease + timing.deadline).total_seconds()
    return (
        f"its grace period of {period:g} s leaves no time to present a refresh token again: the process that presented "
        f"it needs a grace period of more than {deadline:g} s (refresh_deadline), and other processes need one of more "
        f"than {others:g} s. After an unknown outcome, the vault treats the provider as strict"
    )
