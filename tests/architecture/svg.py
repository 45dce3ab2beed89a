"""Shapes of the picture, as SVG text. Colours are classes, so that one style sheet serves light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

_ROUND = 7

LIGHT = {
    "page": "#ffffff",
    "frame": "#f5f7fa",
    "box": "#ffffff",
    "edge": "#c3ccd8",
    "ink": "#17212e",
    "quiet": "#586577",
    "facade": "#1d5fd0",
    "services": "#0b8275",
    "memory": "#2f7d32",
    "ports": "#7a3fd1",
    "transitions": "#c2185b",
    "rules": "#b4540a",
    "entities": "#7b8798",
    "adapters": "#a3295f",
}
DARK = {
    "page": "#12171f",
    "frame": "#1a212c",
    "box": "#222b38",
    "edge": "#3b4758",
    "ink": "#e8edf4",
    "quiet": "#a2afc0",
    "facade": "#6ea3ff",
    "services": "#3cc7b5",
    "memory": "#7fc983",
    "ports": "#b592ff",
    "transitions": "#ff8fb3",
    "rules": "#f0a050",
    "entities": "#93a1b5",
    "adapters": "#f08bb8",
}


def document(width: int, height: float, title: str, parts: list[str]) -> str:
    """Return a whole picture.

    Args:
        width: of the drawing.
        height: of the drawing.
        title: what it shows, for those who cannot see it.
        parts: shapes, from back to front.
    """
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="13">'
    )
    page = f'<rect class="page" width="{width}" height="{height:g}" rx="10"/>'
    dark = f"@media (prefers-color-scheme: dark) {{\n{_style(DARK)}\n}}"
    style = f"<style>\n{_style(LIGHT)}\n{dark}\n</style>"
    return "\n".join([head, f"<title>{escape(title)}</title>", style, page, *parts, "</svg>"]) + "\n"


def _style(colors: Mapping[str, str]) -> str:
    ground = [f".{name} {{ fill: {colors[name]} }}" for name in ("page", "ink", "quiet")]
    boxes = [f".{name} {{ fill: {colors[name]}; stroke: {colors['edge']} }}" for name in ("frame", "box")]
    lines = []
    for name in list(colors)[6:]:
        lines.append(
            f".{name} {{ fill: none; stroke: {colors[name]}; stroke-width: {1.2 if name == 'adapters' else 1.6} }}"
        )
        lines.append(f".{name}-head {{ fill: {colors[name]} }}")
    return "\n".join([*ground, *boxes, *lines])


def rectangle(x: float, y: float, width: float, height: float, kind: str, *, radius: int = 7) -> str:
    """Return a box; ``kind`` is its class in the style sheet."""
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}"/>'


def text(
    x: float, y: float, content: str, kind: str = "ink", *, size: float = 13, bold: bool = False, mono: bool = False
) -> str:
    """Return a line of text that begins at a point."""
    weight = ' font-weight="600"' if bold else ""
    family = ' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"' if mono else ""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" font-size="{size:g}"{weight}{family}>{escape(content)}</text>'


def arrow(start: tuple[float, float], lane: float | None, end: tuple[float, float], kind: str) -> str:
    """Return an arrow that leaves and arrives horizontally, with round corners.

    Args:
        start: where it leaves.
        lane: the x of its vertical part; None draws one straight line.
        end: where its head is.
        kind: the class that colours it.
    """
    (x, y), (to_x, to_y) = start, end
    if lane is None or y == to_y:
        line = f"M{x:g} {y:g} L{to_x:g} {to_y:g}"
    else:
        down = _ROUND if to_y > y else -_ROUND
        out, back = (_ROUND if lane > x else -_ROUND), (_ROUND if to_x > lane else -_ROUND)
        line = (
            f"M{x:g} {y:g} H{lane - out:g} Q{lane:g} {y:g} {lane:g} {y + down:g} "
            f"V{to_y - down:g} Q{lane:g} {to_y:g} {lane + back:g} {to_y:g} H{to_x:g}"
        )
    before = x if lane is None or y == to_y else lane
    return f'<path class="{kind}" d="{line}"/>\n' + _head(before, y if lane is None else to_y, end, kind)


def _head(from_x: float, from_y: float, end: tuple[float, float], kind: str) -> str:
    x, y = end
    if from_x == x:
        back = -8 if y > from_y else 8
        points = f"{x:g},{y:g} {x - 4:g},{y + back:g} {x + 4:g},{y + back:g}"
    else:
        back = -8 if x > from_x else 8
        points = f"{x:g},{y:g} {x + back:g},{y - 4:g} {x + back:g},{y + 4:g}"
    return f'<polygon class="{kind}-head" points="{points}"/>'
