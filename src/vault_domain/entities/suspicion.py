"""Suspect tokens: a resource rejected the token once, and no refresh can replace it."""

from __future__ import annotations

import enum
from datetime import datetime, timedelta

from attrs import frozen

LEAST_CONFIRMATION = timedelta(seconds=30)
"""Shortest time from a first report to a report that confirms it, unless the host configures another time."""

MOST_CONFIRMATION = timedelta(minutes=10)
"""Longest time from a first report to a report that confirms it, unless the host configures another time."""


class Report(enum.Enum):
    """What a report of a rejection means for a token that no refresh can replace."""

    FIRST = "first"
    """No earlier report counts, so the token becomes suspect."""
    EARLY = "early"
    """The first report is too recent to be confirmed, so nothing changes."""
    CONFIRMED = "confirmed"
    """The report confirms the first one, so the token becomes invalid."""


@frozen
class ConfirmationWindow:
    """The shortest and the longest time from a first report to a report that confirms it.

    Attributes:
        least: shortest time. A report that follows sooner may have the same cause as the first, such as a resource's
            outage.
        most: longest time. A report that comes later than this counts as a first one.
    """

    least: timedelta = LEAST_CONFIRMATION
    most: timedelta = MOST_CONFIRMATION

    def judge(self, suspect_since: datetime | None, now: datetime) -> Report:
        """Return what a report at ``now`` means.

        A ``suspect_since`` later than ``now`` does not count, because the clock was set back.
        """
        if suspect_since is None or not suspect_since <= now <= suspect_since + self.most:
            return Report.FIRST
        return Report.EARLY if now - suspect_since < self.least else Report.CONFIRMED


def is_suspect(suspect_since: datetime | None, now: datetime, most: timedelta) -> bool:
    """Return whether a suspicion still counts at ``now``: a report could confirm it now or later."""
    return suspect_since is not None and timedelta(0) <= now - suspect_since <= most
