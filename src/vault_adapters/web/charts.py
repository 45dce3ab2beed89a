"""Computes the charts' shapes. The templates draw them as SVG, and the style sheet colours them by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

WIDE, NARROW, HEIGHT = 1120, 360, 180
"""Widths of the two drawings of a chart, and their height; the style sheet shows the drawing that fits the window."""

_LEFT, _BOTTOM, _TOP = 40, 22, 8


@frozen
class Bar:
    """A rectangle of a chart, in units of its view box."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@frozen
class Chart:
    """Bars over time.

    Attributes:
        width: the width of the view box.
        bars: the rectangles.
        lines: for each horizontal line of the scale, its y and the number beside it.
        ticks: x and text of each mark on the time axis.
    """

    width: int
    bars: tuple[Bar, ...]
    lines: tuple[tuple[float, int], ...]
    ticks: tuple[tuple[float, str], ...]


def columns(
    slots: Sequence[tuple[str, Mapping[str, int]]], kinds: Sequence[str], *, every: int, width: int = WIDE
) -> Chart:
    """Return a chart of stacked columns.

    Args:
        slots: each column's name and its counts by kind, from left to right.
        kinds: the kinds, from the bottom of a column to its top.
        every: with 4, the time axis shows the name of every fourth column.
        width: the width of the view box.
    """
    top = scale(max((sum(counts.get(kind, 0) for kind in kinds) for _, counts in slots), default=0))
    height = HEIGHT - _TOP - _BOTTOM
    step = (width - _LEFT) / max(len(slots), 1)
    bars: list[Bar] = []
    for at, (_, counts) in enumerate(slots):
        y = float(HEIGHT - _BOTTOM)
        for kind in kinds:
            if not counts.get(kind, 0):
                continue
            # At least two units, so that a single failure among thousands of refreshes is visible.
            tall = max(2.0, counts[kind] / top * height)
            y -= tall
            bars.append(Bar(round(_LEFT + at * step + 1, 2), round(y, 2), round(step - 2, 2), round(tall, 2), kind))
    lines = [(round(HEIGHT - _BOTTOM - part * height, 2), round(top * part)) for part in (0, 0.5, 1)]
    ticks = [(round(_LEFT + (at + 0.5) * step, 2), name) for at, (name, _) in enumerate(slots) if at % every == 0]
    return Chart(width, tuple(bars), tuple(lines), tuple(ticks))


def scale(most: int) -> int:
    """Return the number at the top of a scale: even, round, and at least ``most``."""
    size = 1
    while True:
        for step in (2, 4, 6, 10):
            if step * size >= most:
                return step * size
        size *= 10


def shares(counts: Sequence[tuple[str, int]], width: float = 200) -> tuple[Bar, ...]:
    """Return the parts of a bar, in proportion to the counts; each count above zero has a visible part."""
    total = sum(count for _, count in counts)
    if not total:
        return ()
    least = 3.0
    room = width - least * sum(1 for _, count in counts if count)
    bars: list[Bar] = []
    x = 0.0
    for kind, count in counts:
        if count:
            wide = least + room * count / total
            bars.append(Bar(round(x, 2), 0, round(wide, 2), 8, kind))
            x += wide
    return tuple(bars)
