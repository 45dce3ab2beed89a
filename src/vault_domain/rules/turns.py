"""Decides when credentials may be presented after the store's timeline changed."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from vault_domain.entities.rotation_policy import RotationKind

if TYPE_CHECKING:
    from vault_domain.entities.rotation_policy import Rotation

_SLACK = timedelta(seconds=1)
"""Longest time by which ``turned_at``, the time of the timeline's change, may be later than the ``now`` read with it.

The store takes ``now`` when a statement begins, and reads ``turned_at`` a moment later. Another process may store
``turned_at`` in this moment.
"""


def settled_at(rotation: Rotation, hold: timedelta, turned_at: datetime | None, now: datetime) -> datetime:
    """Return the time from which a provider's credentials may be presented; ``now`` if they may be presented now.

    When the store's timeline changes, the store may lose its last commits, such as an answer, or the claim of an
    attempt whose request is open. If an answer is lost, the store holds the spent credential instead of its
    replacement. During the hold, the processes that still have such an answer store it again.

    A provider that is not strict accepts a credential that was spent a moment ago. So its credentials may be presented
    at once.

    Args:
        rotation: the provider's rotation policy.
        hold: how long no credential of a strict provider may be presented after the change.
        turned_at: time of the change; see `Snapshot`.
        now: the store's time.
    """
    if turned_at is None or rotation.kind is not RotationKind.STRICT:
        return now
    end = turned_at + hold
    return end if now < end <= now + hold + _SLACK else now  # a later end means that the clock was set back
