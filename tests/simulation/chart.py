"""Draws the SVG chart beside the page that `table` writes: each algorithm's harm to users, by kind of provider."""

from xml.sax.saxutils import escape

_COLUMNS, _PANEL, _LABELS, _BARS = 2, 460, 190, 190
_ROW, _HEAD, _GAP, _TOP = 18, 26, 16, 62
_INK, _COLORS = "#1f2933", ("#c2410c", "#e0a526", "#a9b1bd")
_PARTS = ("lost, avoidable", "false reconnects", "lost, unavoidable")
TITLE = "Reconnects that users see, per 10,000 months of an account"


def draw(shown, algorithms):
    """Return the picture.

    Args:
        shown: maps the title of each kind to a mapping from the title of an algorithm to its numbers, one for each of
            `_PARTS`.
        algorithms: the titles of the algorithms, from top to bottom.
    """
    height = _HEAD + len(algorithms) * _ROW + _GAP
    rows = -(-len(shown) // _COLUMNS)
    width, bottom = _COLUMNS * _PANEL + 20, _TOP + rows * height
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12">'
    )
    parts = [
        head,
        f"<title>{TITLE}</title>",
        f'<rect width="{width}" height="{bottom}" rx="8" fill="#ffffff"/>',
        _text(16, 24, TITLE, weight="bold"),
        *_legend(),
    ]
    for number, (title, by_algorithm) in enumerate(shown.items()):
        left, top = 10 + number % _COLUMNS * _PANEL, _TOP + number // _COLUMNS * height
        parts += _panel(left, top, title, [(name, by_algorithm[name]) for name in algorithms])
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend():
    for number, (part, color) in enumerate(zip(_PARTS, _COLORS, strict=True)):
        x = 16 + 150 * number
        yield f'<rect x="{x}" y="36" width="12" height="12" fill="{color}"/>'
        yield _text(x + 18, 46, part)


def _panel(left, top, title, rows):
    yield _text(left + 6, top + 16, title.replace("`", ""), weight="bold")
    most = max(1, *(sum(numbers) for _, numbers in rows))
    for number, (name, numbers) in enumerate(rows):
        y = top + _HEAD + number * _ROW
        yield _text(left + _LABELS - 6, y + 11, name, anchor="end", weight="normal" if number else "bold")
        x = left + _LABELS
        for amount, color in zip(numbers, _COLORS, strict=True):
            length = _BARS * amount / most
            if amount:
                yield f'<rect x="{x:.1f}" y="{y}" width="{max(length, 1):.1f}" height="13" fill="{color}"/>'
            x += length
        yield _text(max(x, left + _LABELS) + 5, y + 11, f"{sum(numbers):,}")


def _text(x, y, text, *, anchor="start", weight="normal"):
    return (
        f'<text x="{x:.1f}" y="{y}" fill="{_INK}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
    )
