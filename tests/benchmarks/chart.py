"""The chart: bars on a logarithmic scale, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from xml.sax.saxutils import escape

from tests.benchmarks.findings import Bar, number

_WIDTH, _LABELS, _RIGHT = 940, 400, 70
_ROW, _HEAD, _GAP = 24, 34, 14
_OURS, _OTHERS, _INK, _FAINT = "#0a7d5a", "#8a94a6", "#1f2933", "#d5dae1"


def draw(bars: Sequence[Bar], title: str) -> str:
    """Return an SVG picture of bars, grouped in their order.

    Args:
        bars: the bars; all values are positive.
        title: what the values are.
    """
    low = 10 ** math.floor(math.log10(min(bar.value for bar in bars)))
    high = 10 ** math.ceil(math.log10(max(bar.value for bar in bars)))
    parts: list[str] = []
    y = 40.0
    for group, members in groupby(bars, key=lambda bar: bar.group):
        parts.append(_text(16, y + 20, group, weight="bold"))
        y += _HEAD
        for bar in members:
            parts += _bar(bar, y, _x(bar.value, low, high))
            y += _ROW
        y += _GAP
    grid = _grid(low, high, y)
    height = y + 30
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13">'
        f"<title>{escape(title)}</title>"
        f'<rect width="{_WIDTH}" height="{height:g}" rx="8" fill="#ffffff"/>'
    )
    return "\n".join([head, _text(16, 26, title, size=14), *grid, *parts, "</svg>"]) + "\n"


def _x(value: float, low: float, high: float) -> float:
    share = math.log(value / low) / math.log(high / low)
    return _LABELS + share * (_WIDTH - _LABELS - _RIGHT)


def _bar(bar: Bar, y: float, end: float) -> list[str]:
    fill, weight = (_OURS, "bold") if bar.ours else (_OTHERS, "normal")
    return [
        _text(_LABELS - 8, y + 15, bar.label, anchor="end", weight=weight),
        f'<rect x="{_LABELS}" y="{y + 3:g}" width="{max(end - _LABELS, 1):.1f}" height="16" rx="2" fill="{fill}"/>',
        _text(max(end, _LABELS + 1) + 6, y + 15, number(bar.value), weight=weight),
    ]


def _grid(low: float, high: float, bottom: float) -> list[str]:
    lines = []
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        x = _x(10.0**power, low, high)
        color = _INK if power == 0 else _FAINT
        lines.append(f'<line x1="{x:.1f}" y1="40" x2="{x:.1f}" y2="{bottom:g}" stroke="{color}" stroke-width="1"/>')
        lines.append(_text(x, bottom + 18, f"{10.0**power:g}", anchor="middle", size=12))
    return lines


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", size: int = 13) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:g}" fill="{_INK}" text-anchor="{anchor}" font-weight="{weight}" '
        f'font-size="{size}">{escape(text)}</text>'
    )
