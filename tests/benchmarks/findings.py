"""The findings of a run: measured values, each with its goal if one was set."""

from __future__ import annotations

from attrs import frozen
from tests.benchmarks.timing import Spread


@frozen
class Goal:
    """A limit that a median has to keep.

    Attributes:
        limit: the limit itself.
        at_least: whether it is a lower limit.
    """

    limit: float
    at_least: bool = False

    def met_by(self, value: float) -> bool:
        """Whether the value keeps the limit."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.limit:,.0f}" if self.limit >= 1000 else f"{sign} {self.limit:g}"


@frozen
class Finding:
    """One measured value.

    Attributes:
        case: the name of the case that it belongs to.
        subject: what was measured.
        against: the contestant whose time counts as 1; None for a rate.
        value: the median, with quartiles.
        unit: the unit of a rate, such as ``rows/s``; empty for a ratio.
        goal: the limit that was set, if one was.
    """

    case: str
    subject: str
    against: str | None
    value: Spread
    unit: str = ""
    goal: Goal | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal was met; None where there is none."""
        return None if self.goal is None else self.goal.met_by(self.value.middle)


@frozen
class Bar:
    """One bar of the chart.

    Attributes:
        group: the heading under which it is drawn.
        label: the text beside it.
        value: its length, as a multiple of the bare driver's time.
        ours: whether it is the vault's.
    """

    group: str
    label: str
    value: float
    ours: bool = False


@frozen
class Skipped:
    """A case that did not run, and why."""

    case: str
    reason: str


@frozen
class Profile:
    """The profile of a contestant that missed its goal."""

    subject: str
    table: str


def number(value: float) -> str:
    """Return a number as text, with about three significant digits."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
